# SPDX-License-Identifier: Apache-2.0
"""Kernels and emitted sources with every compiler, standard and optimisation that kernels/narrow_compiler.h promises.

Each case takes what there is of the machine; a compiler that is not installed is skipped.
"""

import ctypes
import dataclasses
import functools
import importlib.util
import pathlib
import shutil
import sys

import numpy as np
import pytest

from tests.helpers import big_endian
from tests.helpers.c_internals import CProgram, translate
from tests.helpers.fans import fan
from tests.helpers.internals import simulate
from tests.helpers.native import UNDEFINED, run
from tests.helpers.programs import random_inputs
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import cores, kernels, narrow
from tflm_export.c.lowering import KERNELS
from tflm_export.rescale import MAX_BITS

WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror".split()
LANGUAGES = {"c99": ["-x", "c", "-std=c99"], "c++17": ["-x", "c++", "-std=c++17"]}
ARM = ["arm-none-eabi-gcc", "-mthumb"]
FREESTANDING = ["zig", "-target", "thumb-freestanding-eabi", "-fno-sanitize=undefined"]
TARGETS = {
    "gcc": ["gcc"],
    "gcc without its extensions": ["gcc", "-DNARROW_NO_GNU"],
    "arm gcc, M0+": [*ARM, "-mcpu=cortex-m0plus"],
    "arm gcc, M4": [*ARM, "-mcpu=cortex-m4"],
    "arm gcc, M55": [*ARM, "-mcpu=cortex-m55"],
}
INCLUDED_BY_DEFINITION = ("narrow_each_window.h", "narrow_pool.h")  # in files that define what they call
# Every compiler with every optimisation, the languages in turn.
BUILDS = [
    *(("gcc", optimize) for optimize in ("-O0", "-Og", "-Os", "-O2", "-O3", "-O2 -flto")),
    ("gcc", "-O1 -DNARROW_NO_GNU"),
    *(("zig", optimize) for optimize in ("-O0", "-Os", "-O3", "-O2 -flto")),
]


def compiler(name: str) -> list[str]:
    """The command of a compiler; the test that asks is skipped where there is none."""
    if name == "zig":
        if importlib.util.find_spec("ziglang") is None:
            pytest.skip("ziglang is not installed")
        return [sys.executable, "-m", "ziglang", "cc"]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return [name]


@dataclasses.dataclass(frozen=True, eq=False)
class Export:
    """A model as C, a row of inputs, and what the simulator makes of it."""

    program: CProgram
    input: np.ndarray
    output: np.ndarray

    @property
    def name(self) -> str:
        return self.program.name


def products() -> bytes:
    """Dense layers, a product of images and a border: what neither fans nor the network have."""
    b = TFLiteBuilder()
    x = b.input([1, 8, 8, 4])
    y = b.tensor("product", [1, 8, 8, 4], scale=0.0713, zero_point=-7)
    b.operator("MUL", [b.conv(x, 4, 1), x], [y], 2)
    return b.build(x, b.fully_connected(b.fully_connected(b.flatten(y), 8), 4))


def flat() -> bytes:
    """Dense layers alone."""
    b = TFLiteBuilder()
    x = b.input([1, 64])
    return b.build(x, b.fully_connected(b.fully_connected(x, 8), 4))


STOCK = {
    "flat": flat,
    "network": lambda: residual_network(batch=1),
    "fan": lambda: fan(2, layers=4),
    "products": products,
}


@functools.cache
def export(model: str, core: str, bits: int) -> Export:
    """A model narrowed to k bits, or, for more than it can hold, as the stock runtime rescales."""
    name = f"{model}_{core.replace('-', '_')}_{bits}"
    data, rounding = (narrow(STOCK[model](), bits)[0], "narrow") if bits < MAX_BITS else (STOCK[model](), "tflm")
    program = translate(data, name, bits, rounding, core)
    (x,) = random_inputs(program, 1)
    trace = simulate(data, x, rounding, bits if rounding == "narrow" else None)
    return Export(program, x, trace.outputs[0].reshape(-1))


def exports() -> list[Export]:
    """With the kernels of every core, and every end of a layer."""
    made = [export(model, core, 1) for core in KERNELS for model in ("fan", "products")]
    return [*made, export("network", "portable", 8), export("network", "cortex-m4", 24), export("fan", "cortex-m4", 31)]


def written(folder: pathlib.Path, *given: Export) -> list[str]:
    """Writes exports to one folder; returns the names of what is to be compiled."""
    files = {name: content for one in given for name, content in one.program.files().items()}
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(name for name in files if name.endswith(".c"))


def check(library: pathlib.Path, one: Export, offset: int = 0) -> None:
    """Runs an export of a shared library, with input and output so many bytes behind a multiple of 8."""
    x, y = (np.full(8 + size, 0x5A, np.int8)[offset:] for size in (one.input.size, one.output.size))
    x[: one.input.size] = one.input.reshape(-1)
    invoke = getattr(ctypes.CDLL(str(library)), f"{one.name}_invoke")
    invoke(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    np.testing.assert_array_equal(y[: one.output.size], one.output, one.name)
    assert (y[one.output.size :] == 0x5A).all()


@pytest.mark.sweep(3)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_warned_of(target, language, tmp_path):
    """Every kernel and header there is, and what is emitted."""
    name, *flags = TARGETS[target]
    command = [*compiler(name), *flags, *LANGUAGES[language], *WARNINGS, "-fsyntax-only", f"-I{kernels.FOLDER}"]
    sources = [tmp_path / source for source in written(tmp_path, *exports()) if not source.startswith("narrow_")]
    headers = sorted(path.name for path in kernels.FOLDER.glob("*.h") if path.name not in INCLUDED_BY_DEFINITION)
    (tmp_path / "headers.c").write_text("".join(f'#include "{header}"\n' for header in headers) + "typedef int one;\n")
    run([*command, *sorted(kernels.FOLDER.glob("*.c")), tmp_path / "headers.c", *sources])


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("name", "optimize"), sampled(BUILDS, 4))
def test_host(name, optimize, tmp_path):
    """What is built computes the same, whatever the compiler makes of it."""
    language = list(LANGUAGES)[BUILDS.index((name, optimize)) % 2]
    sources = [tmp_path / source for source in written(tmp_path, *exports())]
    command = [*compiler(name), *LANGUAGES[language], *WARNINGS, *optimize.split(), "-shared", "-fPIC"]
    run([*command, "-o", tmp_path / "library.so", *sources])
    for one in exports():
        check(tmp_path / "library.so", one)


FIRMWARE = [
    ("cortex-m0plus", "gcc", "-O0"),
    ("cortex-m4", "gcc", "-O0"),
    ("cortex-m0plus", "gcc", "-Og"),
    ("cortex-m4", "gcc", "-Og"),
    ("cortex-m23", "gcc", "-Os"),
    ("cortex-m33", "gcc", "-O3"),
    ("cortex-m23", "zig", "-O3"),
    ("cortex-m33", "zig", "-O0"),
]


def own_kernels(core: str) -> Export:
    """What a core's own kernels are for."""
    return export("fan", cores.find(core).kernels, 1)


def executed(firmware, one: Export) -> np.ndarray:
    """The outputs of a program on the emulated core."""
    from benchmarks.emulators import unicorn_engine

    size = firmware.sizes["firmware_output"]
    return unicorn_engine.execute(firmware, ["firmware_infer"], one.input[None], size).outputs.reshape(-1)


@pytest.mark.parametrize(("core", "toolchain", "optimize"), FIRMWARE)
def test_assembly(core, toolchain, optimize, tmp_path):
    """On the emulated core, however the C around it is compiled."""
    firmware = emulated(toolchain)
    one = own_kernels(core)
    built = firmware.build(one.program, core, tmp_path, toolchain, optimize)
    np.testing.assert_array_equal(executed(built, one), one.output)


def emulated(toolchain: str):
    """The builder of firmware; the test that asks is skipped where it or its compiler is not there."""
    compiler("arm-none-eabi-gcc" if toolchain == "gcc" else toolchain)
    for module in ("unicorn", "capstone", "elftools"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks.emulators import firmware

    return firmware


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("name", "flags"), [("gcc", "-O2"), ("gcc", "-O2 -flto"), ("g++", "-std=c++17 -O0"), ("zig", "-O2 -flto")]
)
def test_two_exports_share_a_program(name, flags, tmp_path):
    """All files of both folders at once, in which the same kernels stand twice."""
    both = [export("network", "portable", 8), export("network", "cortex-m4", 24)]
    sources = [tmp_path / one.name / source for one in both for source in written(tmp_path / one.name, one)]
    assert len({path.name for path in sources}) < len(sources)
    run([*compiler(name), *flags.split(), "-shared", "-fPIC", "-o", tmp_path / "both.so", *sources])
    for one in both:
        check(tmp_path / "both.so", one)


@pytest.mark.parametrize("optimize", ["-O2", "-flto"])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_two_exports_share_assembly(core, optimize, tmp_path):
    """Loops of the same sizes stand in both."""
    firmware = emulated("gcc")
    first, second = (export("fan", cores.find(core).kernels, bits) for bits in (8, 4))
    size = first.output.size
    source = f"""#include "first/{first.name}.h"
#include "second/{second.name}.h"
void both(const int8_t *input, int8_t *output);
void both(const int8_t *input, int8_t *output) {{
  {first.name}_invoke(input, output);
  {second.name}_invoke(input, output + {size});
}}
"""
    files = {"both.h": b"#include <stdint.h>\nvoid both(const int8_t *input, int8_t *output);\n"}
    files["both.c"] = source.encode()
    for folder, one in (("first", first), ("second", second)):
        (tmp_path / folder).mkdir()
        files |= {f"{folder}/{name}": content for name, content in one.program.files().items()}
    sizes = (str(first.input.size), str(2 * size))
    built = firmware.link("both", files, "both", sizes, core, tmp_path, "gcc", optimize)
    np.testing.assert_array_equal(executed(built, first), np.concatenate([first.output, second.output]))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("core", KERNELS)
def test_big_endian(core, tmp_path):
    """What stands in for assembly reads bytes in the order of a little-endian machine."""
    compiler("zig")
    for module in ("unicorn", "elftools"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    for one in (export("fan", core, 1), export("products", core, 1)):
        sources = [tmp_path / name for name in written(tmp_path, one)]
        output = big_endian.call(sources, f"{one.name}_invoke", ["-O1"], one.input, one.output.size)
        np.testing.assert_array_equal(output, one.output, one.name)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("core", KERNELS)
def test_inputs_and_outputs_at_any_address(core, tmp_path):
    """The sanitizer traps words at addresses that are not theirs."""
    one = export("fan", core, 1)
    sources = [tmp_path / name for name in written(tmp_path, one)]
    run([*compiler("gcc"), *UNDEFINED, "-O1", "-shared", "-fPIC", "-o", tmp_path / "library.so", *sources])
    for offset in (1, 2, 3):
        check(tmp_path / "library.so", one, offset)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_assembly_at_any_address(core, tmp_path):
    """The same from memory 1, 2 and 3 bytes behind a multiple of 4; dense layers read their input there."""
    firmware = emulated("zig")
    one = export("flat", cores.find(core).kernels, 1)
    count, size = one.input.size, one.output.size
    source = f"""#include "moved.h"
static int8_t before[{count + 4}] __attribute__((aligned(4))), behind[{size + 4}] __attribute__((aligned(4)));
void moved(const int8_t *input, int8_t *output) {{
  for (int offset = 1; offset < 4; ++offset, output += {size}) {{
    for (int i = 0; i < {count}; ++i) before[offset + i] = input[i];
    {one.name}_invoke(before + offset, behind + offset);
    for (int i = 0; i < {size}; ++i) output[i] = behind[offset + i];
  }}
}}
"""
    header = f'#include "{one.name}.h"\nvoid moved(const int8_t *input, int8_t *output);\n'
    files = one.program.files() | {"moved.c": source.encode(), "moved.h": header.encode()}
    built = firmware.link("moved", files, "moved", (str(count), str(3 * size)), core, tmp_path, "zig")
    np.testing.assert_array_equal(executed(built, one), np.tile(one.output, 3))
