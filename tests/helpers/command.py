# SPDX-License-Identifier: Apache-2.0
"""The exporter as a program of its own, with streams and signals."""

import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FULL = "/dev/full"  # takes no byte


def environment(**more: str) -> dict[str, str]:
    """The environment in which a program finds this checkout, whatever the working directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def command(*arguments: str, before: str = "") -> list[str]:
    """The program; with `before`, Python that runs first in its process."""
    if not before:
        return [sys.executable, "-m", "tflm_export", *arguments]
    return [sys.executable, "-c", f"{before}\nfrom tflm_export.__main__ import run; run()", *arguments]


def start(
    *arguments: str, before: str = "", stdout: int | None = None, stderr: int | None = None, **more: str
) -> subprocess.Popen:
    """The program, running, with more variables of its environment; it ignores no signal, as under nohup it would."""
    line = command(*arguments, before=before)
    return subprocess.Popen(
        line, env=environment(**more), stdout=stdout, stderr=stderr, preexec_fn=heed if os.name == "posix" else None
    )


def heed() -> None:
    """Ignores no signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
