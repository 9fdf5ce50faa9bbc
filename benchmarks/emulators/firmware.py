"""Builds a model's C source into a bare-metal ELF file."""

import dataclasses
import pathlib
import shutil
import subprocess
import sys

from elftools.elf.elffile import ELFFile

from tflm_export.c_source import Program

_FOLDER = pathlib.Path(__file__).parent
CPUS = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
TOOLCHAINS = ("zig", "gcc")
# Not -nostdlib: it would drop compiler-rt, and with it memcpy, division and 64-bit multiplication.
_ZIG = "-target thumb-freestanding-eabi -fno-sanitize=undefined".split()
_GCC = "-mthumb -mfloat-abi=soft -nostartfiles --specs=nano.specs --specs=nosys.specs".split()
_COMMON = (
    "-std=c99 -Wall -Wextra -Werror -ffreestanding -fomit-frame-pointer -ffunction-sections -fdata-sections".split()
)


class BuildError(RuntimeError):
    """The compiler failed or is not there; the message is its own."""


@dataclasses.dataclass(frozen=True)
class Firmware:
    """A built program.

    Attributes:
      path: the ELF file.
      cpu: what it was built for.
      flash: bytes of code and constants.
      ram: bytes of static data, the arena among them, without the stack.
      symbols: addresses by name, without the Thumb bit.
      segments: (address, content) of what is loaded.
      code_end: first address behind code and constants.
    """

    path: pathlib.Path
    cpu: str
    flash: int
    ram: int
    symbols: dict[str, int]
    segments: tuple[tuple[int, bytes], ...]
    code_end: int


def build(program: Program, cpu: str, folder: pathlib.Path, toolchain: str = "zig", optimize: str = "-O2") -> Firmware:
    """Compiles and links a program in a folder, which is made.

    Raises:
      BuildError: the compiler is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = program.files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    elf = folder / f"{program.name}.elf"
    upper = program.name.upper()
    command = [
        *_compiler(toolchain, cpu),
        *_COMMON,
        optimize,
        f'-DFIRMWARE_HEADER="{program.name}.h"',
        f"-DFIRMWARE_INPUT_BYTES={upper}_INPUT_BYTES",
        f"-DFIRMWARE_OUTPUT_BYTES={upper}_OUTPUT_BYTES",
        f"-DFIRMWARE_INVOKE={program.name}_invoke",
        f"-I{folder}",
        *(str(folder / name) for name in files if name.endswith((".c", ".S"))),
        str(_FOLDER / "firmware.c"),
        "-Wl,--gc-sections",
        f"-Wl,-T,{_FOLDER / 'firmware.ld'}",
        "-o",
        str(elf),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{toolchain} failed for {cpu}:\n{done.stdout}{done.stderr}")
    return load(elf, cpu)


def _compiler(toolchain: str, cpu: str) -> list[str]:
    if toolchain == "zig":
        return [sys.executable, "-m", "ziglang", "cc", *_ZIG, f"-mcpu={cpu.replace('-', '_')}"]
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        raise BuildError("arm-none-eabi-gcc is not installed; use --toolchain zig, which is on PyPI (ziglang)")
    return [gcc, *_GCC, f"-mcpu={cpu}"]


def load(path: pathlib.Path, cpu: str) -> Firmware:
    """Reads an ELF file that was built with firmware.ld."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        segments = tuple(
            (s["p_paddr"], s.data()) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        )
        table = elf.get_section_by_name(".symtab")
        symbols = {s.name: s["st_value"] & ~1 for s in table.iter_symbols() if s.name and s["st_shndx"] != "SHN_UNDEF"}
        sections = [s for s in elf.iter_sections() if s["sh_flags"] & 2]  # SHF_ALLOC
        stored = [s for s in sections if s["sh_type"] != "SHT_NOBITS"]
        flash = sum(s["sh_size"] for s in stored)
        ram = sum(s["sh_size"] for s in sections if s["sh_addr"] >= 0x20000000)
        code_end = max(s["sh_addr"] + s["sh_size"] for s in stored if s["sh_addr"] < 0x20000000)
    return Firmware(path, cpu, flash, ram, symbols, segments, code_end)
