# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in QEMU: one process an inference, and its clock counts instructions.

With `-icount shift=0` an instruction takes a nanosecond of the board's time, so a tick of SysTick at 25 MHz is 40
instructions, the same in every run; minstret of RISC-V has the instructions themselves. QEMU does not say which
instructions they were: no layers, no modelled cycles.
"""

import pathlib
import shutil
import tempfile

import numpy as np

from benchmarks.emulators.boards import board_of
from benchmarks.emulators.execution import END, FAULT, EngineError, Execution, parse, watch
from benchmarks.emulators.firmware import Firmware, require_one_inference
from benchmarks.emulators.isa import isa_of

_SECONDS = 600  # for one inference; QEMU does 100 million instructions a second and more


def execute(firmware: Firmware, layers: list[str], inputs: np.ndarray, size: int) -> Execution:
    """Inferences from reset. Args as for `unicorn_engine.execute`; `layers` is not used.

    Raises:
      EngineError: QEMU is missing or fails, or the program faults.
    """
    require_one_inference(firmware, inputs)
    isa = isa_of(firmware.cpu)
    found = shutil.which(isa.qemu)
    if found is None:
        raise EngineError(
            f"{isa.qemu} is not installed (Debian: apt install {isa.qemu_package}); or use --engine unicorn"
        )
    board = board_of(firmware.cpu)
    consoles = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "input.bin"
        # fmt: off
        command = [
            found, "-machine", board.machine, *isa.qemu_flags, "-icount", "shift=0", "-display", "none",
            "-monitor", "none", "-serial", "stdio", "-kernel", str(firmware.path),
            "-device", f"loader,file={path},addr={firmware.symbols['firmware_input']:#x},force-raw=on",
        ]
        # fmt: on
        for row in inputs:
            path.write_bytes(np.ascontiguousarray(row, np.int8).tobytes())
            lines = watch(command, _SECONDS, lambda line: line in (END, FAULT), "QEMU")
            consoles.append(parse(lines, "QEMU", size))
    return Execution(
        np.stack([console.output for console in consoles]),
        board.instructions * float(np.mean([console.ticks for console in consoles])),
        board.instructions,
    )
