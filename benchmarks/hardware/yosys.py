# SPDX-License-Identifier: Apache-2.0
"""Runs Yosys, from the package pyosys, in a process of its own: an error of Yosys ends the process that it is in."""

import importlib.util
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tflm_export import UsageError, rtl

# A pass a line, from standard input.
_CHILD = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin.read().splitlines():
    libyosys.run_pass(line, design)
"""


def run(script: Sequence[str], folder: pathlib.Path | None = None, timeout: float | None = None) -> str:
    """Runs commands of Yosys on an empty design and returns its log.

    Args:
      script: commands, each a line.
      folder: in which they run; relative paths in them are from there. None: the current one.
      timeout: in seconds.

    Raises:
      UsageError: pyosys is not installed, or Yosys stopped with an error, which the message repeats.
      subprocess.TimeoutExpired: it took longer.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise UsageError("synthesis needs pyosys: pip install pyosys")
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input="\n".join(script), capture_output=True, text=True, check=False,
        cwd=folder, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise UsageError(f"yosys: {_complaint(done)}")
    return done.stdout


def _complaint(done: subprocess.CompletedProcess) -> str:
    """The line that says what went wrong, and the command that it came from."""
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\bERROR\b|Error:", line)]
    commands = [line for line in done.stdout.splitlines() if line.startswith("-- Running command")]
    what = (errors or lines[-1:] or [f"stopped with {done.returncode} and no message"])[0].strip()
    return f"{what} ({commands[-1].strip('- ')})" if commands else what


def quoted(path: pathlib.Path | str) -> str:
    """A path as an argument of a command."""
    return f'"{path}"'


def reading(
    top: str, parameters: Mapping[str, int] | None = None, sources: Sequence[pathlib.Path] | None = None
) -> list[str]:
    """Commands that read a module with parameters, as the top of a design, under its own name.

    Args:
      top: name of the module.
      parameters: their values; others keep their defaults.
      sources: Verilog files; None for those of the package.
    """
    files = " ".join(quoted(path.resolve()) for path in (rtl.sources() if sources is None else sources))
    # No sign is read there, so negative integers go as the bits they have.
    values = "".join(f" -chparam {name} 32'b{int(value) & 0xFFFFFFFF:b}" for name, value in (parameters or {}).items())
    return [f"read_verilog {files}", f"hierarchy -check -top {top}{values}", f"rename -top {top}"]
