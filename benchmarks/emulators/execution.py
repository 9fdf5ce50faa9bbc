# SPDX-License-Identifier: Apache-2.0
"""What every engine gives back, and what firmware says on its console."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.emulators.flash import Stalls

FAULT, END = "fault", "end"
_FAREWELL = 20  # seconds that a program may take to end


class EngineError(RuntimeError):
    """The emulator is not there, or did not run the program to its end."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Executions of one basic block in one layer.

    Attributes:
      layer: its number, 0 before the first.
      address, code: where it stands, and its instructions.
      entries: how often it ran.
      continued: how often execution went on right behind it.
    """

    layer: int
    address: int
    code: bytes
    entries: int
    continued: int


@dataclasses.dataclass(frozen=True)
class Execution:
    """Inferences on an engine.

    Attributes:
      outputs: int8 [rows, output bytes].
      instructions: an inference, mean; None where `blocks` has them.
      resolution: by how much `instructions` may be off.
      blocks: of all inferences together; None where the engine does not tell.
      stack: bytes, at most; None likewise.
      stalls: of all inferences together by layer, those before the first one in front; None likewise.
    """

    outputs: np.ndarray
    instructions: float | None = None
    resolution: int = 0
    blocks: list[Block] | None = None
    stack: int | None = None
    stalls: list[Stalls] | None = None


@dataclasses.dataclass(frozen=True)
class Console:
    """What firmware.c wrote: SysTick ticks of an inference, and its output, int8."""

    ticks: int
    output: np.ndarray


def parse(lines: Iterable[str], engine: str, size: int) -> Console:
    """Reads the lines of a console.

    Raises:
      EngineError: they are not those of a whole inference with `size` bytes of output.
    """
    lines = [line.strip() for line in lines]
    if FAULT in lines:
        raise EngineError(f"the program faulted in {engine}")
    if END not in lines:
        raise EngineError(f"the program did not end in {engine}; its console: {lines[-5:]}")
    words = [line.split(" ", 1) for line in lines if " " in line]
    ticks = [int(value, 16) for key, value in words if key == "ticks"]
    output = bytes.fromhex("".join(value for key, value in words if key == "output"))
    if len(ticks) != 1 or len(output) != size:
        raise EngineError(f"{engine}: expected ticks and {size} output bytes on the console, got {lines[-5:]}")
    return Console(ticks[0], np.frombuffer(output, np.int8))


def watch(command: list[str], seconds: float, last: Callable[[str], bool], name: str, farewell: str = "") -> list[str]:
    """Lines of a program's standard output and errors until the `last` one, when it is ended.

    Args:
      command: the program and its arguments.
      seconds: how long it may run.
      last: whether a line, stripped, is the last of interest.
      name: of the program, for people.
      farewell: what to tell it on its standard input at the end; without that it is killed.

    Raises:
      EngineError: it ran longer than so many seconds.
    """
    late = threading.Event()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    ) as process:  # fmt: skip

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started

        timer = threading.Timer(seconds, lambda: (late.set(), end()))
        timer.start()
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if last(line.strip()):
                    break
            if farewell:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    process.communicate(farewell, timeout=_FAREWELL)
        finally:
            timer.cancel()
            end()
    if late.is_set():
        raise EngineError(f"{name} did not end within {seconds:.0f} seconds: {''.join(lines[-5:]).strip()}")
    return lines
