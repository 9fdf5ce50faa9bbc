# SPDX-License-Identifier: Apache-2.0
"""Several models in one call: which they are, where their files go, and what became of them in one table."""

import collections
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator

from tflm_export import files, outputs
from tflm_export.errors import UsageError
from tflm_export.report import Report, columns

SEVERITY = (0, 3, 1, 2)  # of exit codes: what could not be verified is less bad than what is known to be wrong
ENDING = ".tflite"  # of the models in a folder, in any case


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to read.

    Attributes:
      path: of its file.
      place: of several models, its path below the folder it was found in; its name where it was named itself. Its files
        get the same place below the folders for outputs.
    """

    path: str
    place: str = ""

    @property
    def is_alone(self) -> bool:
        """Whether there are no other models."""
        return not self.place

    def output(self, folder: str | None, suffix: str) -> str:
        """Where its narrowed model goes: into a folder, or else beside it."""
        if folder is None:
            return outputs.default_path(self.path, suffix)
        return os.path.join(folder, outputs.default_path(self.place, suffix))

    def folder(self, common: str | None) -> str | None:
        """The folder for its sources in C, C++ or Verilog: that for all, or one of its own in that."""
        return common if common is None or self.is_alone else os.path.join(common, os.path.splitext(self.place)[0])


@dataclasses.dataclass
class Outcome:
    """What became of a model.

    Attributes:
      path: of its file.
      code: the exit code that it would have alone.
      error: why it is not 0, where that is an error.
      output: the narrowed file; empty where none was written.
      size: its bytes.
      report: of its rescales.
      agreement: with the stock model, for people.
      text: all else that was to be said, in lines.
    """

    path: str
    code: int = 0
    error: str = ""
    output: str = ""
    size: int | None = None
    report: Report | None = None
    agreement: str = ""
    text: str = ""


def is_asked(arguments: list[str], output_dir: str | None) -> bool:
    """Whether arguments are several models: more than one, a folder, or any number that goes to a folder."""
    return len(arguments) > 1 or output_dir is not None or any(map(os.path.isdir, arguments))


def find(arguments: list[str], output_dir: str | None) -> list[Source]:
    """The models of paths and folders, in their order; those of a folder by name, with all in folders below it.

    What lies below `output_dir` is an output of ours and no model to read.

    Raises:
      UsageError: a folder holds no model or cannot be read, or a path is a stream.
    """
    found = []
    for argument in arguments:
        if os.path.isdir(argument):
            inside = [Source(os.path.join(argument, place), place) for place in _models(argument, output_dir)]
            if not inside:
                raise UsageError(f"there is no {ENDING} file in {argument} or below")
            found += inside
        elif files.is_stream(argument):
            raise UsageError(f"{argument} is read alone; of several models each is a file")
        else:
            found.append(Source(argument, os.path.basename(argument)))
    return found


def _models(folder: str, without: str | None) -> list[str]:
    def refuse(error: OSError):
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error

    excluded = None if without is None else os.path.realpath(without)
    if os.path.realpath(folder) == excluded:
        raise UsageError(f"--output_dir is {folder} itself, whose models are read; give another, maybe a folder in it")
    places = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(root, name)) != excluded]
        paths = (os.path.join(root, name) for name in names if name.lower().endswith(ENDING))
        # A pipe or a device of that name would be waited for.
        places += [os.path.relpath(path, folder) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return sorted(places)


def require_distinct(sources: list[Source], wanted: list[outputs.Outputs], report: str | None) -> None:
    """Raises UsageError where two models would have files at one place, or one the place of the report."""
    models = collections.defaultdict(list)
    for source, files_of_one in zip(sources, wanted, strict=False):  # a check writes none
        for kind in ("model", "array_folder", "source_folder", "rtl_folder"):
            path = getattr(files_of_one, kind)
            if path is not None:
                models[kind, os.path.realpath(path)].append((source.path, path))
    for found in models.values():
        if len(found) > 1:
            names = " and ".join(name for name, _ in found)
            raise UsageError(f"{names} would both be written to {found[0][1]}; narrow them one by one")
    if report is not None and ("model", os.path.realpath(report)) in models:
        raise UsageError(f"--report {report} would replace a narrowed model")


@contextlib.contextmanager
def folders(wanted: list[outputs.Outputs]) -> Iterator[None]:
    """Makes the folders that files are to go to, and at the end takes away new ones in which nothing was written.

    Raises:
      UsageError: one cannot be made.
    """
    paths = {
        path
        for one in wanted
        for path in (os.path.dirname(one.model), one.array_folder, one.source_folder, one.rtl_folder)
    }
    with files.folders(paths - {None}):
        yield


def report_files(outcomes: list[Outcome], path: str | None) -> dict[str, bytes]:
    """What became of all models as one JSON file, content by path; nothing without a path."""
    if path is None:
        return {}
    models = [
        {
            "model": outcome.path,
            "code": outcome.code,
            "error": outcome.error,
            "output": outcome.output or None,
            "size": outcome.size,
            "report": outcome.report and outcome.report.to_dict(),
        }
        for outcome in outcomes
    ]
    return {path: (json.dumps({"code": worst(outcomes), "models": models}, indent=1) + "\n").encode()}


def worst(outcomes: list[Outcome]) -> int:
    """The exit code of all."""
    return max((outcome.code for outcome in outcomes), key=SEVERITY.index)


def table(outcomes: list[Outcome]) -> str:
    """What became of all models as text, one line each."""
    head = ("model", "narrow", "bits", "bytes", "agreement", "")
    rows = [head, *map(_cells, outcomes)]
    shown = [i for i in range(len(head)) if any(row[i] for row in rows[1:])]
    return columns([tuple(row[i] for i in shown) for row in rows], right={shown.index(i) for i in (2, 3) if i in shown})


def _cells(outcome: Outcome) -> tuple[str, ...]:
    narrow = bits = ""
    if outcome.report is not None:
        rows = outcome.report.rows
        narrow = f"{len(rows) - len(outcome.report.offenders)} of {len(rows)}"
        bits = str(max((row.bits_after for row in rows if row.bits_after is not None), default=""))
    size = "" if outcome.size is None else str(outcome.size)
    return outcome.path, narrow, bits, size, outcome.agreement, outcome.error or outcome.output
