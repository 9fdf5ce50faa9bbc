# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in Renode: one process an inference, and hooks that log the executed instructions.

Renode says how many instructions ran, not which: no layers, no modelled cycles.
"""

import pathlib
import re
import shutil
import tempfile

import numpy as np

from benchmarks.emulators.execution import FAULT, EngineError, Execution, parse, watch
from benchmarks.emulators.firmware import Firmware
from tflm_export import cores

PROGRAM = "renode"
FOLDER = pathlib.Path(__file__).with_name("renode")
_SECONDS = 600  # for one inference
_EVENT = re.compile(r"inference (begins|ends) at (\d+)")
_IDLE = "firmware idles"


def execute(firmware: Firmware, layers: list[str], inputs: np.ndarray, size: int) -> Execution:
    """Inferences from reset. Args as for `unicorn_engine.execute`; `layers` is not used.

    Raises:
      EngineError: Renode is missing or fails, there is no board with this core, or the program faults.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(
            f"{PROGRAM} is not on PATH (a portable build is at https://renode.io); or use --engine unicorn or qemu"
        )
    if cores.find(firmware.cpu).renode is None:
        known = ", ".join(core.name for core in cores.CORES if core.renode)
        raise EngineError(f"there is no Renode board with a {firmware.cpu}, but with {known}")
    if "firmware_report" not in firmware.symbols:
        raise EngineError(f"{firmware.path} has no firmware_report, by which Renode sees the end: link firmware.c")
    consoles, counts = [], []
    for row in inputs:
        with tempfile.TemporaryDirectory() as folder:
            console = pathlib.Path(folder) / "console.txt"
            start = script(firmware, row, pathlib.Path(folder))
            command = [found, "--disable-gui", "--console", "--plain", "-e", f"include {_path(start)}"]
            lines = watch(command, _SECONDS, lambda line: _IDLE in line or line == FAULT, "Renode", "quit\n")
            text = console.read_text(errors="replace") if console.is_file() else "".join(lines)
        consoles.append(parse(text.splitlines(), "Renode", size))
        events = dict(_EVENT.findall("".join(lines)))
        if len(events) != 2:
            raise EngineError(f"Renode did not log both ends of the inference: {''.join(lines[-5:]).strip()}")
        counts.append(int(events["ends"]) - int(events["begins"]))
    return Execution(np.stack([console.output for console in consoles]), float(np.mean(counts)))


def script(firmware: Firmware, row: np.ndarray, folder: pathlib.Path) -> pathlib.Path:
    """Writes a folder's run.resc and input.bin: one inference, its console in console.txt."""
    start, given = folder / "run.resc", folder / "input.bin"
    given.write_bytes(np.ascontiguousarray(row, np.int8).tobytes())
    start.write_text(
        f"""$elf={_path(firmware.path.resolve())}
include {_path(FOLDER / f"{cores.find(firmware.cpu).renode}.resc")}
sysbus LoadBinary {_path(given)} {firmware.symbols["firmware_input"]:#x}
uart CreateFileBackend {_path(folder / "console.txt")} true
start
"""
    )
    return start


def _path(path: pathlib.Path) -> str:
    """As Renode's monitor reads paths."""
    return "@" + str(path).replace(" ", "\\ ")
