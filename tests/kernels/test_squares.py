# SPDX-License-Identifier: Apache-2.0
"""Cores without a multiplier: programs of k = 1 have no multiplication, by name or by instruction; shifts and additions
in the place of products and quotients."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import kernels, narrow


def network(average: bool = True) -> bytes:
    """Layers of all the kernels: odd sizes, strides, dilation, several outputs of a channel, pools, a sum, softmax."""
    b = TFLiteBuilder(3)
    x = b.input([1, 9, 7, 3])
    y = b.conv(x, 5, 3, stride=2, name="first")
    y = b.conv(b.depthwise(y, kernel=3, name="depthwise"), 6, 1, name="pointwise")
    y = b.add(y, b.conv(y, 6, 2, name="second"))
    y = b.pool(y, "AVERAGE" if average else "MAX")
    y = b.fully_connected(b.flatten(b.depthwise(y, kernel=2, stride=2, name="last")), 7, name="dense")
    return b.build(x, b.softmax(y))


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("bits", [1, 8])
def test_every_layer_equals_the_simulator(bits, average):
    assert_equals_simulator(narrow(network(average), bits)[0], bits, "narrow", core="rv32ic")


@native.requires_gcc
def test_stock_rescales_equal_the_simulator():
    assert_equals_simulator(network(), 31, "tflm", core="rv32ic")


FUNCTIONS = """
#define NARROW_NO_MULTIPLIER
#include "narrow_fixed_point.h"

void times(int32_t count, const int32_t *a, const int32_t *b, int32_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_times(a[i], b[i]);
}

void quotients(int32_t count, const int32_t *a, const int32_t *b, int32_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_quotient(a[i], b[i]);
}

void products_q0(int32_t count, const int32_t *a, const int32_t *b, int32_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_multiply_q0(a[i], b[i]);
}
"""


def by_bits(function: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    files = {"functions.c": FUNCTIONS.encode()} | kernels.sources(["narrow_fixed_point.h"])
    library = native.library(files, "-Wno-missing-prototypes")
    given = a.astype(np.int32), b.astype(np.int32)
    found = native.call(function, len(a), *given, output_size=4 * len(a), library=library)
    return found.view(np.int32).astype(np.int64)


def factors(rng, count: int = 20000) -> np.ndarray:
    """int64 of every size and sign, the ends among them."""
    sizes = np.exp2(rng.uniform(0, 31, count)).astype(np.int64)
    ends = [-(1 << 31) + 1, (1 << 31) - 1, 0, 1, -1, 1 << 16, -(1 << 16), (1 << 16) - 1]
    return np.concatenate([sizes * rng.choice([-1, 1], count), rng.permutation(ends)])


@native.requires_gcc
def test_products_and_quotients_by_bits():
    rng = np.random.default_rng(0)
    a, b = factors(rng), factors(rng)
    np.testing.assert_array_equal(by_bits("times", a, b), (a * b).astype(np.int32))
    d = np.maximum(np.abs(b), 1)
    np.testing.assert_array_equal(by_bits("quotients", a, d), np.sign(a) * (np.abs(a) // d))
    # a * b / 2^31, halves up; python's integers have no end
    exact = [(x * y + (1 << 30)) >> 31 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_array_equal(by_bits("products_q0", a, b), exact)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("core", ["rv32ec", "rv32ic"])
@pytest.mark.parametrize("name", ["average", "maximum", "residual"])
def test_a_program_of_shifts_multiplies_nowhere(core, name, tmp_path):
    for module in ("capstone", "elftools", "unicorn", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    import capstone

    from benchmarks.emulators import firmware

    model = residual_network(batch=1) if name == "residual" else network(name == "average")
    program = translate(narrow(model, 1)[0], "model", 1, core=core)
    built = firmware.build(program, core, tmp_path)
    assert [
        symbol for symbol in built.symbols if symbol.startswith(("__mul", "__div", "__udiv", "__mod", "__umod"))
    ] == []
    decoder = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)
    ((start, code),) = [segment for segment in built.segments if segment[0] == built.code_start]
    seen = 0
    for function, size in firmware.function_places(built.path).items():
        instructions = list(decoder.disasm(code[function - start :][:size], function))
        assert sum(instruction.size for instruction in instructions) == size
        assert [i for i in instructions if i.mnemonic.removeprefix("c.").startswith(("mul", "div", "rem"))] == []
        seen += len(instructions)
    assert seen > 500


@pytest.mark.slow
def test_they_are_the_faster_ones_where_products_are_slow():
    """On an M0 with the small multiplier, beside the kernels of an M0+, which are for the other one."""
    for module in ("capstone", "elftools", "unicorn", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    core, model = "cortex-m0-small-multiplier", network()
    inputs, _ = device.inputs_for(model, 2, None, 1.0)
    for rescale in (1, "stock"):
        own, other = (
            device.measure(model, "model", core, rescale, inputs, kernels=kernels)
            for kernels in ("auto", "cortex-m0plus")
        )
        assert own.equal
        assert other.equal
        assert own.multiplier == other.multiplier == 32
        assert own.total("cycles") < other.total("cycles")
