# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in Renode: one process an inference, and hooks that log the executed instructions.

Renode says how many instructions ran, not which: no layers, no modelled cycles.
"""

import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable

import numpy as np

from benchmarks.emulators.execution import EngineError, Execution, parse, watch
from benchmarks.emulators.firmware import Firmware, require_one_inference
from tflm_export import cores

PROGRAM = "renode"
FOLDER = pathlib.Path(__file__).with_name("renode")
_SECONDS = 600  # for one inference
_EVENT = re.compile(r"inference (begins|ends) at (\d+)")
_IDLE = "firmware idles"
_MONITOR_ERROR = "There was an error executing command"  # the line after it says which
# Renode goes on after all of these: it waits at its prompt, halts the core, or reads 0 where nothing is.
_FAULT = re.compile(
    f"{_MONITOR_ERROR}|No such command or device|Could not find file|No such variable|CPU abort|CPU was halted|"
    "non existing peripheral|Python runtime error"
)
_TICK = 6  # instructions of firmware_tick, at most: an exception when SysTick wraps, of which Unicorn has none
_WRAP = 1 << 24  # instructions, one a tick


def execute(firmware: Firmware, layers: list[str], inputs: np.ndarray, size: int) -> Execution:
    """Inferences from reset. Args as for `unicorn_engine.execute`; `layers` is not used.

    Raises:
      EngineError: Renode is missing or fails, there is no board with this core, or the program faults.
    """
    require_one_inference(firmware, inputs)
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(
            f"{PROGRAM} is not on PATH (a portable build is at https://renode.io); or use --engine unicorn or qemu"
        )
    if cores.find(firmware.cpu).renode is None:
        known = ", ".join(core.name for core in cores.CORES if core.renode)
        raise EngineError(f"there is no Renode board with a {firmware.cpu}, but with {known}")
    outputs, counts = [], []
    for row in inputs:
        with tempfile.TemporaryDirectory() as folder:
            start = script(firmware, row, pathlib.Path(folder))
            command = [found, "--disable-gui", "--console", "--plain", "-e", f"include {_path(start)}"]
            lines = watch(command, _SECONDS, ending(), "Renode", "quit\n")
            written = pathlib.Path(folder) / "console.txt"
            console = written.read_text(errors="replace") if written.is_file() else ""
        output, count = result(lines, console.splitlines(), size)
        outputs.append(output)
        counts.append(count)
    ticks = max(counts) // _WRAP if cores.find(firmware.cpu).isa == "arm" else 0
    return Execution(np.stack(outputs), float(np.mean(counts)), _TICK * ticks)


def script(firmware: Firmware, row: np.ndarray, folder: pathlib.Path) -> pathlib.Path:
    """Writes a folder's run.resc and input.bin: one inference, its console in console.txt."""
    start, given = folder / "run.resc", folder / "input.bin"
    given.write_bytes(np.ascontiguousarray(row, np.int8).tobytes())
    start.write_text(
        f"""$board={_path(FOLDER / f"{cores.find(firmware.cpu).renode}.repl")}
$elf={_path(firmware.path.resolve())}
include {_path(FOLDER / "firmware.resc")}
sysbus LoadBinary {_path(given)} {firmware.symbols["firmware_input"]:#x}
uart CreateFileBackend {_path(folder / "console.txt")} true
start
"""
    )
    return start


def _path(path: pathlib.Path) -> str:
    """As Renode's monitor reads paths."""
    return "@" + str(path).replace(" ", "\\ ")


def ending() -> Callable[[str], bool]:
    """Whether a line of Renode's is the last of interest, for `watch`: the program idles, or something went wrong."""
    reason_follows = False

    def is_last(line: str) -> bool:
        nonlocal reason_follows
        if reason_follows:
            return bool(line)
        reason_follows = _MONITOR_ERROR in line
        return _IDLE in line or (not reason_follows and _FAULT.search(line) is not None)

    return is_last


def result(lines: list[str], console: list[str], size: int) -> tuple[np.ndarray, int]:
    """What an inference gave.

    Args:
      lines: what Renode said, up to the last line of interest (`ending`).
      console: lines that the program wrote.
      size: bytes of an output.

    Returns:
      int8 [size], and the instructions of the inference alone.

    Raises:
      EngineError: the program faulted or was never run, with Renode's reason; or it did not say all of it.
    """
    faults = [i for i, line in enumerate(lines) if _FAULT.search(line)]
    if faults:
        reason = " ".join(filter(None, map(str.strip, lines[faults[0] :])))
        raise EngineError(f"the program faulted in Renode: {reason}")
    output = parse(console, "Renode", size).output
    events = dict(_EVENT.findall("".join(lines)))
    if len(events) != 2:
        raise EngineError(f"Renode did not log both ends of the inference: {''.join(lines[-5:]).strip()}")
    return output, int(events["ends"]) - int(events["begins"])
