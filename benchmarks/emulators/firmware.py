# SPDX-License-Identifier: Apache-2.0
"""Builds a model's C source into a bare-metal ELF file, and reads such files."""

import contextlib
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from benchmarks.emulators.boards import board_of
from benchmarks.emulators.borders import Borders
from benchmarks.emulators.isa import ISAS, isa_of
from tflm_export import ModelError, UsageError
from tflm_export.c import CProgram
from tflm_export.cores import CORES, find

_FOLDER = pathlib.Path(__file__).parent
SOURCE = _FOLDER / "firmware.c"
CPUS = tuple(core.name for core in CORES if core.is_emulated)
TOOLCHAINS = ("zig", "gcc")
# Not -nostdlib: it would drop compiler-rt, and with it memcpy, division and 64-bit multiplication.
_ZIG = "-fno-sanitize=undefined -g".split()  # without -g, -Os leaves out symbols
# Not -fipa-icf: layers with the same code would become one, and be counted as one.
_GCC = "-fno-ipa-icf -nostartfiles".split()
_COMMON = (
    "-std=c99 -Wall -Wextra -Werror -ffreestanding -fomit-frame-pointer -ffunction-sections -fdata-sections".split()
)
_HOT = '-DNARROW_HOT_SECTION=".ramfunc"'  # firmware.ld puts it into RAM
_SHOWN = 20  # lines of a compiler's complaint


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
      code_start: their first address.
      memory: (first address, address behind) of all that has a place in memory.
      sizes: bytes of variables by name.
      keeps_state: whether an inference depends on those since reset.
      ram_code: first address of code that runs from RAM and the address behind; equal where there is none.
    """

    path: pathlib.Path
    cpu: str
    flash: int
    ram: int
    symbols: dict[str, int]
    segments: tuple[tuple[int, bytes], ...]
    code_end: int
    code_start: int = 0
    memory: tuple[tuple[int, int], ...] = ()
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    keeps_state: bool = False
    ram_code: tuple[int, int] = (0, 0)

    def function(self, name: str) -> int:
        """Address of a function, which gcc may have renamed: NAME.constprop.0, NAME.isra.0."""
        found = [n for n in self.symbols if n == name or n.startswith((f"{name}.constprop.", f"{name}.isra."))]
        if not found:
            raise ModelError(f"{self.path} has no function {name}")
        return self.symbols[found[0]]


def build(
    program: CProgram, cpu: str, folder: pathlib.Path, toolchain: str = "zig", optimize: str = "-O2",
    loops_in_ram: bool = False,
) -> Firmware:  # fmt: skip
    """Compiles and links a program in a folder, which is made.

    Args:
      program, cpu, folder, toolchain, optimize: what of, for what, where and how.
      loops_in_ram: whether kernels and layers run from there.

    Raises:
      BuildError: the compiler is missing or fails.
    """
    borders = Borders.of(program)
    files = program.files() | {borders.file: borders.header()}
    built = link(
        program.name, files, borders.function, borders.sizes, cpu, folder, toolchain, optimize, borders.file,
        [_HOT] if loops_in_ram else [],
    )  # fmt: skip
    return dataclasses.replace(built, keeps_state=program.keeps_state)


def link(
    name: str, files: dict[str, bytes], invoke: str, sizes: tuple, cpu: str, folder: pathlib.Path, toolchain: str,
    optimize: str = "-O2", header: str = "", flags: Sequence[str] = (),
) -> Firmware:  # fmt: skip
    """Compiles C files, links them with firmware.c and reads the result.

    Args:
      name: of the ELF file.
      files: contents by file name, written to the folder.
      invoke: C function of (const int8_t *input, int8_t *output).
      sizes: bytes of input and output, as C expressions.
      cpu: one of CPUS.
      folder: made where it is not there.
      toolchain: one of TOOLCHAINS.
      optimize: the compiler's flag.
      header: that declares or defines `invoke`; NAME.h where it is left out.
      flags: more of them.

    Raises:
      BuildError: the compiler is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    elf = folder / f"{name}.elf"
    command = [
        *_compiler(toolchain, cpu),
        *_COMMON,
        optimize,
        *flags,
        f'-DFIRMWARE_HEADER="{header or f"{name}.h"}"',
        f"-DFIRMWARE_INPUT_BYTES={sizes[0]}",
        f"-DFIRMWARE_OUTPUT_BYTES={sizes[1]}",
        f"-DFIRMWARE_INVOKE={invoke}",
        f"-DFIRMWARE_UART={board_of(cpu).uart:#x}u",
        f"-I{folder}",
        *(str(folder / file) for file in files if file.endswith((".c", ".S"))),
        str(SOURCE),
        "-Wl,--gc-sections",
        f"-T{linker_script(cpu, folder)}",  # by -Wl,-T that of picolibc's specs would be there, too
        "-o",
        str(elf),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(first_lines(f"{toolchain} failed for {cpu}:", done.stdout + done.stderr))
    return load(elf, cpu)


def first_lines(title: str, said: str) -> str:
    """The start of what a compiler says, below a title."""
    lines = said.splitlines()
    cut = [f"... and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else []
    return "\n".join([title, *lines[:_SHOWN], *cut])


def _compiler(toolchain: str, cpu: str) -> list[str]:
    isa, core = isa_of(cpu), find(cpu)
    if toolchain == "zig":
        return [sys.executable, "-m", "ziglang", "cc", *isa.zig_flags(core), *_ZIG]
    gcc = shutil.which(isa.gcc)
    if gcc is None:
        raise BuildError(f"{isa.gcc} is not installed; use --toolchain zig, which is on PyPI (ziglang)")
    return [gcc, *isa.gcc_flags(core), *_GCC]


def linker_script(cpu: str, folder: pathlib.Path) -> pathlib.Path:
    """firmware.ld, with the addresses of the core's board, the size of its RAM, and where its programs begin."""
    script = _FOLDER / "firmware.ld"
    board = board_of(cpu)
    if (board.flash, board.ram) == (0, 0x20000000):
        return script
    text = script.read_text().replace("0x00000000", f"{board.flash:#x}").replace("0x20000000", f"{board.ram:#x}")
    text = text.replace(f"{board.ram:#x}, LENGTH = 4M", f"{board.ram:#x}, LENGTH = {board.ram_bytes}")
    text = text.replace("ENTRY(firmware_reset)", f"ENTRY({isa_of(cpu).entry})")
    own = folder / "firmware.ld"
    own.write_text(text)
    return own


def require_one_inference(built: Firmware, inputs: np.ndarray) -> None:
    """Raises UsageError for several inferences of a model that keeps state, where each one runs from reset."""
    if built.keeps_state and len(inputs) > 1:
        raise UsageError(f"{built.path.stem} keeps state from one inference to the next; run it with --engine unicorn")


# Symbols that an engine needs, beside which there may be firmware_main and firmware_report.
CONTRACT = (
    "firmware_reset", "firmware_infer", "firmware_idle", "firmware_input", "firmware_output", "firmware_stack",
)  # fmt: skip
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR


def load(path: pathlib.Path, cpu: str) -> Firmware:
    """Reads an ELF file that holds to the CONTRACT: firmware.c and firmware.ld, or a like of them.

    Raises:
      ModelError: it is no ELF file, or lacks symbols.
    """
    with _open(path, (isa_of(cpu).machine,)) as elf:
        segments = tuple(
            (s["p_paddr"], s.data()) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        )
        table = elf.get_section_by_name(".symtab")
        known = [s for s in table.iter_symbols() if s.name and s["st_shndx"] != "SHN_UNDEF"] if table else []
        symbols = {s.name: s["st_value"] & ~isa_of(cpu).code_bit for s in known}
        sizes = {s.name: s["st_size"] for s in known if s["st_info"]["type"] == "STT_OBJECT"}
        sections = [s for s in elf.iter_sections() if s["sh_flags"] & _ALLOC and s["sh_size"]]
        copied = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_paddr"] != s["p_vaddr"]]
    missing = [name for name in CONTRACT if name not in symbols]
    if missing:
        raise ModelError(f"{path} has no symbols {', '.join(missing)}; docs/device.md says what an ELF file must have")
    in_ram = [s for s in sections if s["sh_flags"] & _WRITE or any(p.section_in_segment(s) for p in copied)]
    stored = [s for s in sections if s["sh_type"] != "SHT_NOBITS"]
    constant = [s for s in stored if s not in in_ram]
    ram_code = [s for s in in_ram if s in stored and s["sh_flags"] & _EXECUTE]
    return Firmware(
        path,
        cpu,
        sum(s["sh_size"] for s in stored),
        sum(s["sh_size"] for s in in_ram),
        symbols,
        segments,
        max(s["sh_addr"] + s["sh_size"] for s in constant),
        min(s["sh_addr"] for s in constant),
        tuple((s["sh_addr"], s["sh_addr"] + s["sh_size"]) for s in sections),
        sizes,
        ram_code=(
            min((s["sh_addr"] for s in ram_code), default=0),
            max((s["sh_addr"] + s["sh_size"] for s in ram_code), default=0),
        ),
    )


def function_sizes(path: pathlib.Path) -> dict[str, int]:
    """Bytes of an ELF file's functions by name, largest first; of several with one address, the last one's name.

    Raises:
      ModelError: it is no ELF file.
    """
    sizes: dict[str, int] = {}
    for symbol in _functions(path).values():
        sizes[symbol.name] = sizes.get(symbol.name, 0) + symbol["st_size"]
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def function_places(path: pathlib.Path) -> dict[int, int]:
    """Bytes of an ELF file's functions by address.

    Raises:
      ModelError: it is no ELF file.
    """
    return {address: symbol["st_size"] for address, symbol in _functions(path).items()}


def _functions(path: pathlib.Path) -> dict:
    """Symbols of functions by address; of several at one, the last."""
    with _open(path) as elf:
        table = elf.get_section_by_name(".symtab")
        symbols = list(table.iter_symbols()) if table else []
    return {s["st_value"]: s for s in symbols if s["st_info"]["type"] == "STT_FUNC" and s["st_size"]}


def cores(path: pathlib.Path) -> tuple[str, ...]:
    """The cores that an ELF file was built for, by its build attributes; empty where it has none.

    Raises:
      ModelError: it is no ELF file.
    """
    with _open(path) as elf:
        section = elf.get_section_by_name(".ARM.attributes")
        for value in _attributes(section, "TAG_CPU_ARCH"):
            return tuple(core.name for core in CORES if value in core.architectures)
        section = elf.get_section_by_name(".riscv.attributes")
        for value in _attributes(section, "TAG_ARCH"):
            # rv32i2p1_m2p0_c2p0_zmmul1p0: what is written with versions and underscores; of z..., only what cores name.
            built = set(re.findall(r"(?:rv32|_)([a-z]+)", value))
            known = {name for core in CORES for name in core.extensions} | set("afdv")
            return tuple(c.name for c in CORES if c.isa == "riscv" and built & known <= c.extensions)
    return ()


def _attributes(section, tag: str):
    """Values of a build attribute; none without the section."""
    for subsection in section.iter_subsections() if section is not None else ():
        for block in subsection.iter_subsubsections():
            for attribute in block.iter_attributes(tag):
                yield attribute.value


@contextlib.contextmanager
def _open(path: pathlib.Path, machines: Sequence[str] = tuple(isa.machine for isa in ISAS.values())):
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if elf["e_machine"] not in machines:
                titles = " or ".join(isa.title for isa in ISAS.values() if isa.machine in machines)
                raise ModelError(f"{path} is an ELF file for {elf['e_machine']}, not for {titles}")
            yield elf
    except (OSError, ELFError) as error:
        raise ModelError(f"{path} cannot be read as an ELF file: {error}") from error
