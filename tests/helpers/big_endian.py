# SPDX-License-Identifier: Apache-2.0
"""C on a big-endian machine: an emulated 32-bit PowerPC, built with zig."""

import pathlib
import sys

import numpy as np

from tests.helpers.native import run

_TARGET = "-target powerpc-freestanding-eabi -ffreestanding -fno-pic -fno-sanitize=undefined".split()
_STACK, _DATA, _SIZE, _END = 0x60000000, 0x70000000, 1 << 20, 0x50000000


def call(sources: list[pathlib.Path], function: str, flags: list[str], x: np.ndarray, size: int) -> np.ndarray:
    """Builds a program and calls one of its functions.

    Args:
      sources: C files; the first one's folder gets the ELF file.
      function: of (const int8_t *input, int8_t *output).
      flags: of the compiler.
      x: int8, the input.
      size: bytes of the output.

    Returns:
      int8 [size].
    """
    import unicorn
    from elftools.elf.elffile import ELFFile
    from unicorn import ppc_const

    elf = sources[0].parent / "big_endian.elf"
    run([sys.executable, "-m", "ziglang", "cc", *_TARGET, *flags, f"-Wl,-e,{function}", "-o", elf, *sources])
    machine = unicorn.Uc(unicorn.UC_ARCH_PPC, unicorn.UC_MODE_PPC32 | unicorn.UC_MODE_BIG_ENDIAN)
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        assert not file.little_endian
        segments = [s for s in file.iter_segments() if s["p_type"] == "PT_LOAD"]
        low = min(s["p_vaddr"] for s in segments) & -_SIZE
        high = max(s["p_vaddr"] + s["p_memsz"] for s in segments)
        machine.mem_map(low, (high - low + _SIZE - 1) & -_SIZE)
        for segment in segments:
            machine.mem_write(segment["p_vaddr"], segment.data())
        entry = file["e_entry"]
    for start in (_STACK, _DATA, _END):
        machine.mem_map(start, _SIZE)
    output = _DATA + _SIZE // 2
    machine.mem_write(_DATA, x.tobytes())
    registers = {"1": _STACK + _SIZE - 256, "3": _DATA, "4": output, "LR": _END}
    for name, value in registers.items():
        machine.reg_write(getattr(ppc_const, f"UC_PPC_REG_{name}"), value)
    machine.emu_start(entry, _END)
    return np.frombuffer(machine.mem_read(output, size), np.int8)
