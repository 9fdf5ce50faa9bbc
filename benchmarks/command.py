# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks' command lines have in common.

`--help` shows a module's usage; `--output` is the folder of its results. Exit codes are those of tflm_export: 0 done,
1 a model or a comparison failed, 2 wrong usage or something that is missing, 130 Ctrl-C. An error is a line on stderr.
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Callable

from absl import flags
from rich.console import Console
from rich.table import Table

from tflm_export import ModelError, UsageError, command_line

EXIT_OK, EXIT_MODEL, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 130
PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy", "scipy")
WIDTH = 120  # of what is printed into a file or a pipe


class Command:
    """The command line of a module.

    Attributes:
      name: of the module.
      description: the text above the flags.
      flags: its own; --help and --output are there already.
      output: the flag --output.
    """

    def __init__(self, name: str, description: str, output: str | None = "", errors: tuple[type[Exception], ...] = ()):
        """
        Args:
          output: default of --output; empty for build/NAME.
          errors: exceptions that mean something is missing, besides UsageError.
        """
        self.name, self.description, self._errors = name, description, errors
        self.flags = flags.FlagValues()
        default = f"build/{name}" if output == "" else output
        self.output = flags.DEFINE_string("output", default, "Folder for the results.", flag_values=self.flags)
        self._help = command_line.define_help(self.flags)
        self._line = ""

    @property
    def folder(self) -> pathlib.Path:
        """--output, which is made.

        Raises:
          UsageError: it cannot be made.
        """
        folder = pathlib.Path(self.output.value)
        make_folder(folder)
        return folder

    def provenance(self) -> dict:
        """The command and the versions of what a result depends on."""
        return {"command": self._line, "versions": versions()}

    def run(self, argv: list[str], function: Callable[..., int | None], arguments: int = 0) -> int:
        """Parses `argv`, whose first entry is the program, and calls function(*positional); returns the exit code.

        Args:
          arguments: how many positional arguments there may be.
        """
        for name in self.flags:
            self.flags[name].unparse()
        self._line = " ".join([f"python -m benchmarks.{self.name}", *argv[1:]])
        try:
            positional = self.flags(argv)[1:]
            if self._help.value:
                print(command_line.help_text(self.description, self.flags))
                sys.stdout.flush()
                return EXIT_OK
            if len(positional) > arguments:
                raise UsageError(f"unexpected argument {positional[arguments]}; see --help")
            return function(*positional) or EXIT_OK
        except ModelError as error:
            return self._fail(error, EXIT_MODEL)
        except KeyboardInterrupt:
            return self._fail("stopped", EXIT_STOPPED)
        except BrokenPipeError:  # the reader has left, as in `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_OK
        except OSError as error:
            return self._fail(f"{error.filename}: {error.strerror}" if error.filename else error, EXIT_USAGE)
        except (UsageError, flags.Error, *self._errors) as error:
            return self._fail(error, EXIT_USAGE)

    def _fail(self, error: BaseException | str, code: int) -> int:
        text = str(error) or type(error).__name__
        print(f"{self.name}: {' '.join(text.split())}", file=sys.stderr)
        return code


def versions() -> dict[str, str]:
    """The versions of what results depend on, as far as it is installed; Python's last."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found | {"python": platform.python_version()}


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder for results.

    Raises:
      UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error


def console(width: int = WIDTH) -> Console:
    """The terminal, or `width` columns of something else."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def table(head: tuple[str, ...], rows, texts: int, **looks) -> Table:
    """Cells of text side by side: `texts` columns to the left, the other ones, numbers, to the right."""
    made = Table(**looks)
    for index, name in enumerate(head):
        made.add_column(name, justify="left" if index < texts else "right")
    for row in rows:
        made.add_row(*row)
    return made


def to_json(stored) -> bytes:
    """A result as the content of a file."""
    return (json.dumps(stored, indent=1) + "\n").encode()
