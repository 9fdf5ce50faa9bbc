# SPDX-License-Identifier: Apache-2.0
"""What differs between instruction sets: compilers and their flags, emulators and their registers, ELF files."""

import dataclasses

from tflm_export import cores
from tflm_export.cores import Core


@dataclasses.dataclass(frozen=True)
class Isa:
    """An instruction set.

    Attributes:
      title: for people.
      machine: of ELF files.
      gcc: the compiler.
      qemu, qemu_package: the program, and Debian's package of it.
      qemu_flags: of the program, whatever the board.
      unicorn: UC_ARCH_..., UC_MODE_..., and what the names of models and of registers begin with.
      stack, link, counter: registers: stack pointer, return address, program counter.
      code_bit: 1 where the lowest bit of an address says that it is code.
      entry: where a program begins that is loaded by its ELF file.
    """

    title: str
    machine: str
    gcc: str
    qemu: str
    qemu_package: str
    qemu_flags: tuple[str, ...]
    unicorn: tuple[str, str, str, str]
    stack: str
    link: str
    counter: str
    code_bit: int
    entry: str

    def is_long(self, halfword: int) -> bool:
        """Whether a halfword begins an instruction of 32 bits; block_counter.c has the same."""
        raise NotImplementedError

    def zig_flags(self, core: Core) -> list[str]:
        """Of `zig cc`, for a core."""
        raise NotImplementedError

    def gcc_flags(self, core: Core) -> list[str]:
        """Of gcc, for a core."""
        raise NotImplementedError


class _Arm(Isa):
    def is_long(self, halfword: int) -> bool:
        return halfword >> 11 >= 0x1D

    def zig_flags(self, core: Core) -> list[str]:
        return ["-target", "thumb-freestanding-eabi", f"-mcpu={core.zig_mcpu}"]

    def gcc_flags(self, core: Core) -> list[str]:
        return [*"-mthumb -mfloat-abi=soft --specs=nano.specs --specs=nosys.specs".split(), f"-mcpu={core.mcpu}"]


class _Riscv(Isa):
    def is_long(self, halfword: int) -> bool:
        return halfword & 3 == 3

    def zig_flags(self, core: Core) -> list[str]:
        return ["-target", "riscv32-freestanding-none", f"-mcpu={core.zig_mcpu}", f"-mabi={_abi(core)}"]

    def gcc_flags(self, core: Core) -> list[str]:
        return ["--specs=picolibc.specs", f"-march={core.name}", f"-mabi={_abi(core)}"]


def _abi(core: Core) -> str:
    return "ilp32e" if "e" in core.extensions else "ilp32"


ISAS = {  # by `Core.isa`
    "arm": _Arm(
        "Arm", "EM_ARM", "arm-none-eabi-gcc", "qemu-system-arm", "qemu-system-arm", (),
        ("UC_ARCH_ARM", "UC_MODE_THUMB", "UC_CPU_ARM_", "UC_ARM_REG_"), "SP", "LR", "PC", 1, "firmware_reset",
    ),
    "riscv": _Riscv(
        "RISC-V", "EM_RISCV", "riscv64-unknown-elf-gcc", "qemu-system-riscv32", "qemu-system-misc", ("-bios", "none"),
        ("UC_ARCH_RISCV", "UC_MODE_RISCV32", "UC_CPU_RISCV32_", "UC_RISCV_REG_"), "SP", "RA", "PC", 0,
        "firmware_start",
    ),
}  # fmt: skip


def isa_of(cpu: str) -> Isa:
    """The instruction set of a core, by the core's name."""
    return ISAS[cores.find(cpu).isa]
