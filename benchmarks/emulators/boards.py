# SPDX-License-Identifier: Apache-2.0
"""The boards of the cores: memory map, console, and what QEMU calls them."""

import dataclasses

from tflm_export import cores


@dataclasses.dataclass(frozen=True)
class Board:
    """Where firmware finds things, and QEMU's machine with this map.

    Attributes:
      machine: of QEMU.
      core: of that machine. ARMv6-M is a subset of ARMv7-M: an M3 runs the same instructions as an M0+, equally many.
      instructions: a tick of firmware's clock under `-icount shift=0`: of SysTick, where an instruction takes a
        nanosecond; RISC-V counts instructions itself.
      flash, ram, uart: first addresses; there are 4 MB of flash.
      ram_bytes: how large RAM is.
    """

    machine: str
    core: str
    instructions: int = 40  # 25 MHz
    flash: int = 0x00000000
    ram: int = 0x20000000
    uart: int = 0x40004000
    ram_bytes: int = 4 << 20


FLASH_BYTES = 4 << 20
BOARDS = {
    board.machine: board
    for board in (
        Board("mps2-an385", "cortex-m3"),
        Board("mps2-an386", "cortex-m4"),
        Board("mps2-an500", "cortex-m7"),
        # The M33 starts in secure state, which sees its memory and devices at other addresses.
        Board("mps2-an505", "cortex-m33", 50, 0x10000000, 0x38000000, 0x50200000),
        # All of it is RAM, 128 MB.
        Board("virt", "rv32", 1, 0x80000000, 0x80400000, 0x10000000, 64 << 20),
    )
}


def board_of(cpu: str) -> Board:
    """The board of a core with firmware, by the core's name."""
    return BOARDS[cores.find(cpu).board]
