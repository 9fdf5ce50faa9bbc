# SPDX-License-Identifier: Apache-2.0
"""Verilog as C++ (Yosys' CXXRTL), compiled here and called with arrays: millions of vectors a second.

block = cxxrtl.build("narrow_rescale", {"MULTIPLIER_BITS": 4})
y = block(acc=acc, multiplier=m & 7, shift=s - 1, zero_point=-3, low=-128, high=127)["y"]
"""

import ctypes
import dataclasses
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.hardware import yosys
from tflm_export import UsageError

_CHUNK = 32  # bits of the words that CXXRTL holds values in
_CLOCK = "clk"
_HELPERS = """\
#include <cxxrtl/cxxrtl.h>
// Outputs that are registers are wires, with a value that is and one that comes.
template <size_t bits> cxxrtl::value<bits> &now(cxxrtl::value<bits> &value) { return value; }
template <size_t bits> cxxrtl::value<bits> &now(cxxrtl::wire<bits> &wire) { return wire.curr; }
"""


@dataclasses.dataclass(frozen=True)
class Port:
    """A port of a module.

    Attributes:
      name: of it.
      bits: how many.
      is_signed: whether its values have a sign.
      is_input: or an output.
    """

    name: str
    bits: int
    is_signed: bool
    is_input: bool

    @property
    def chunks(self) -> int:
        """Words of 32 bits that hold a value."""
        return -(-self.bits // _CHUNK)

    def packed(self, values, count: int) -> np.ndarray:
        """Values as words, uint32 [count, chunks], the lowest first. Integers that fit, or such words already."""
        values = np.asarray(values)
        if self.bits > 64 or (values.ndim == 2 and values.dtype == np.uint32):
            return np.ascontiguousarray(np.broadcast_to(values, (count, self.chunks)), np.uint32)
        values = np.broadcast_to(values, count)
        low, high = (-(1 << (self.bits - 1)), 1 << (self.bits - 1)) if self.is_signed else (0, 1 << self.bits)
        if count and not (low <= int(values.min()) and int(values.max()) < high):
            raise ValueError(f"{self.name} takes {low} to {high - 1}, got {values.min()} to {values.max()}")
        words = values.astype(np.uint64 if values.dtype == np.uint64 else np.int64).view(np.uint64)
        words = words & np.uint64((1 << self.bits) - 1)
        return np.ascontiguousarray(words.astype("<u8").view("<u4").reshape(count, 2)[:, : self.chunks], np.uint32)

    def unpacked(self, words: np.ndarray) -> np.ndarray:
        """int64 [count] from words [count, chunks]; of more than 64 bits, the words."""
        if self.bits > 64:
            return words
        wide = np.zeros((len(words), 2), np.uint32)
        wide[:, : self.chunks] = words
        values = wide.astype("<u4").view("<i8").reshape(len(words))
        spare = 64 - self.bits if self.is_signed else 0
        return values << spare >> spare


@dataclasses.dataclass(frozen=True)
class Block:
    """A compiled module.

    Attributes:
      name: of the module.
      ports: all but the clock.
    """

    name: str
    ports: tuple[Port, ...]
    _run: object

    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        """Outputs for vectors of inputs, one after the other; state starts anew with each call.

        A module with a clock gets an edge after each vector, and outputs are those after that edge: row i of a block
        with n registers on the way belongs to vector i - (n - 1).

        Args:
          inputs: for each input port integers [vectors], or one for all. Ports of more than 64 bits take words,
            uint32 [vectors, words], the lowest first; narrower ones may.

        Returns:
          For each output port int64 [vectors], or uint32 [vectors, words] where it has more than 64 bits.

        Raises:
          ValueError: a port is missing or unknown, or a value does not fit its port.
        """
        wanted = {port.name for port in self.ports if port.is_input}
        if set(inputs) != wanted:
            raise ValueError(f"{self.name} takes {', '.join(sorted(wanted))}, got {', '.join(sorted(inputs))}")
        count = max(len(values) if np.ndim(values) else 1 for values in inputs.values())
        words = [
            port.packed(inputs[port.name], count) if port.is_input else np.zeros((count, port.chunks), np.uint32)
            for port in self.ports
        ]
        pointers = (ctypes.c_void_p * len(words))(*(array.ctypes.data for array in words))
        self._run(pointers, ctypes.c_size_t(count))
        return {p.name: p.unpacked(array) for p, array in zip(self.ports, words, strict=True) if not p.is_input}


@dataclasses.dataclass(frozen=True)
class Design:
    """What is to be built.

    Attributes:
      top: name of the module.
      parameters: their values; others keep their defaults.
      sources: Verilog files; None for those of the package.
      script: commands of Yosys that read another form of the module, such as a netlist, instead.
    """

    top: str
    parameters: Mapping[str, int] | None = None
    sources: Sequence[pathlib.Path] | None = None
    script: Sequence[str] | None = None

    @property
    def reading(self) -> list[str]:
        """Commands of Yosys that read it."""
        return list(self.script) if self.script else yosys.reading(self.top, self.parameters, self.sources)


def build(
    top: str,
    parameters: Mapping[str, int] | None = None,
    sources: Sequence[pathlib.Path] | None = None,
    script: Sequence[str] | None = None,
) -> Block:
    """Compiles a module. Arguments as the attributes of `Design`, errors as `build_all`."""
    return build_all([Design(top, parameters, sources, script)])[0]


def build_all(designs: Sequence[Design]) -> list[Block]:
    """Compiles modules together, which takes little longer than one does.

    Raises:
      UsageError: pyosys or a C++ compiler is missing, or Yosys or the compiler stopped with an error.
    """
    with tempfile.TemporaryDirectory(prefix="cxxrtl") as name:
        folder = pathlib.Path(name)
        yosys.run([line for number, design in enumerate(designs) for line in _translation(number, design)], folder)
        ports = [_ports(folder / f"{number}.json", design.top) for number, design in enumerate(designs)]
        drivers = [_driver(n, design.top, *found) for n, (design, found) in enumerate(zip(designs, ports, strict=True))]
        (folder / "driver.cc").write_text("\n".join([_HELPERS, *drivers]), encoding="utf-8")
        _compile(folder / "driver.cc", folder / "blocks.so")
        library = ctypes.CDLL(str(folder / "blocks.so"))  # stays loaded when the file is gone
    blocks = []
    for number, (design, (of_it, _)) in enumerate(zip(designs, ports, strict=True)):
        run = library[f"run_{number}"]
        run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_size_t], None
        blocks.append(Block(design.top, of_it, run))
    return blocks


def _translation(number: int, design: Design) -> list[str]:
    """Commands that write a module's C++, in a namespace of its own, and its ports."""
    writing = [f"write_json {number}.json", f"write_cxxrtl -g0 -namespace block_{number} {number}.cc"]
    return ["design -reset", *design.reading, "proc", "flatten", *writing]


def _ports(path: pathlib.Path, top: str) -> tuple[tuple[Port, ...], bool]:
    """A module's ports but the clock, and whether there is one."""
    module = json.loads(path.read_text(encoding="utf-8"))["modules"][top]
    ports = tuple(
        Port(name, len(port["bits"]), bool(port.get("signed")), port["direction"] == "input")
        for name, port in module["ports"].items()
        if name != _CLOCK
    )
    return ports, _CLOCK in module["ports"]


def _driver(number: int, top: str, ports: Sequence[Port], has_clock: bool) -> str:
    """A loop over vectors, around the module."""

    def copies(is_input: bool) -> list[str]:
        return [
            f"    for (int c = 0; c < {port.chunks}; c++) "
            + (f"{_in_cpp(port)}.data[c] = {there};" if is_input else f"{there} = {_in_cpp(port)}.data[c];")
            for number, port in enumerate(ports)
            for there in [f"ports[{number}][i * {port.chunks} + c]"]
            if port.is_input == is_input
        ]

    # The first step takes registers over, the second what follows from them.
    edge = ["    block.p_clk.set(true);", "    block.step();", "    block.step();"] if has_clock else []
    before = ["    block.p_clk.set(false);"] if has_clock else []
    lines = [
        f'#include "{number}.cc"',
        f'extern "C" void run_{number}(uint32_t **ports, size_t count) {{',
        f"  block_{number}::p_{_mangled(top)} block;",
        "  for (size_t i = 0; i < count; i++) {",
        *before, *copies(True), "    block.step();", *edge, *copies(False),
        "  }",
        "}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _in_cpp(port: Port) -> str:
    """What a port is now."""
    return f"now(block.p_{_mangled(port.name)})"


def _mangled(name: str) -> str:
    return name.replace("_", "__")


def _compile(source: pathlib.Path, library: pathlib.Path) -> None:
    found = importlib.util.find_spec("pyosys")
    runtime = pathlib.Path(found.origin).parent / "share/include/backends/cxxrtl/runtime"
    flags = ["-std=c++17", "-O2", "-w", "-shared", "-fPIC", f"-I{runtime}", str(source), "-o", str(library)]
    done = subprocess.run([*_compiler(), *flags], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UsageError(f"the C++ compiler stopped: {next((line for line in lines if 'error' in line), lines[0])}")


def _compiler() -> list[str]:
    """The system's C++ compiler, or the one of the package ziglang."""
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++"]
    raise UsageError("a simulation needs a C++ compiler: install one, or pip install ziglang")
