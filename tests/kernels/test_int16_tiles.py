# SPDX-License-Identifier: Apache-2.0
"""Convolutions of int16 with weights of int8 tile by tile: against the form itself, and on the emulated cores."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_equal_forms
from tests.helpers.random_forms import Draw
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export.c.cortex_m0plus import CortexM0Plus
from tflm_export.c.cortex_m4 import CortexM4
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows, axis_of, points
from tflm_export.rescale import Rescale

pytestmark = native.requires_gcc
CORES = {"cortex-m4": CortexM4, "cortex-m0plus": CortexM0Plus}
_ANY_ORDER = "-U__BYTE_ORDER__"  # of the bytes of a word, for all that the kernels know


def random_form(draw: Draw, **fields) -> WeightedSum:
    """Of two pixels or more, odd depths and channels among them."""
    axes = []
    for _ in range(2):
        kernel, stride, dilation = draw.size(3), draw.size(2), draw.size(2)
        axes.append(axis_of(draw.size(6) + (kernel - 1) * dilation, kernel, stride, dilation, draw.flag()))
    windows = Windows(*axes) if draw.random.random() < 0.9 else points(draw.size(5))
    inputs, channels, images = draw.size(9), 1 + draw.size(8), 2 + draw.size(2)
    weights = draw.integers(np.int8, (1, channels, windows.height.kernel, windows.width.kernel, inputs))
    reach = float(np.abs(weights.astype(np.int64)).sum((2, 3, 4)).max()) * 2**15
    bias = np.rint(draw.random.uniform(-reach, reach, channels) / 2).astype(np.int64)
    given = {
        "inputs": (draw.value("x", np.int16, (images, windows.height.size, windows.width.size, inputs)),),
        "outputs": (draw.value("y", np.int16, (images, windows.height.output, windows.width.output, channels)),),
        "weights": weights,
        "bias": bias,
        "input_zero_point": 0,
        "windows": windows,
        "rescale": draw.rescaler(reach, 2.0**15, draw.one([1, channels]), True),
        "zero_point": draw.zero_point(np.int16),
        "clamp": draw.clamp(np.int16),
        "is_wide": True,
    }
    return WeightedSum(**(given | fields))


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("seed", "flags"), [(0, []), (1, []), (2, [_ANY_ORDER])])
def test_any_form(core, seed, flags):
    draw, emit = Draw(seed), CORES[core]().emit
    compiled = assert_equal_forms([random_form(draw) for _ in range(40)], emit, seed, flags=flags)
    assert not any(step.is_general for step in compiled.steps)


def dense(vectors: int, weights, bias=0, **fields) -> WeightedSum:
    """Vectors times weights [channels, inputs], divided by 2**16."""
    weights = np.asarray(weights, np.int8)
    given = {
        "inputs": (Value("x", np.dtype(np.int16), (vectors, weights.shape[1])),),
        "outputs": (Value("y", np.dtype(np.int16), (vectors, len(weights))),),
        "weights": weights.reshape(1, len(weights), 1, 1, -1),
        "bias": np.full(len(weights), bias, np.int64),
        "input_zero_point": 0,
        "windows": points(1),
        "rescale": Rescale(np.int64(1), np.int64(16)),
        "zero_point": 0,
        "clamp": (-(1 << 15), (1 << 15) - 1),
        "is_wide": True,
    }
    return WeightedSum(**(given | fields))


@pytest.mark.parametrize("core", CORES)
def test_the_largest_sums_that_32_bits_hold(core):
    """-2**15 times 511 weights of -128 and one of -127, with a bias that makes it 2**31 - 1."""
    weights = np.full((2, 512), -128)
    weights[:, -1] = -127
    form = dense(5, weights, (1 << 15) - 1)
    compiled = CompiledSteps([CORES[core]().emit(step_of(form))])
    assert not compiled.steps[0].is_general
    (y,) = compiled.run(0, np.full((5, 512), -(1 << 15), np.int16))
    np.testing.assert_array_equal(y, np.full((5, 2), (1 << 15) - 1))  # 2**15 after rounding, clamped


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    "form",
    [
        dense(5, np.full((2, 512), -128)),
        dense(1, np.ones((2, 4))),
        dense(5, np.ones((1, 4))),
        dense(5, np.ones((2, 4)), input_zero_point=3),
        dataclasses.replace(dense(5, np.ones((2, 4))), weights=np.full((1, 2, 1, 1, 4), 200, np.int16)),
    ],
    ids=["sums of 64 bits", "one pixel", "one channel", "a zero point", "weights beyond int8"],
)
def test_what_the_kernels_for_all_types_keep(core, form):
    compiled = assert_equal_forms([form], CORES[core]().emit)
    assert compiled.steps[0].is_general


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("rescale", [1, "stock"])
def test_assembly_equals_the_simulator(core, rescale):
    """Emulated: an odd number of channels, tiles of several sizes, padding and strides."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    g = TFLiteBuilder(3)
    x = g.input((1, 7, 9, 3), type="INT16", zero_point=0, scale=0.0004)
    ends = {"zero_point": 0, "scale": 0.0006}
    first = g.conv(x, 5, kernel=3, name="odd", **ends)
    second = g.conv(first, 8, kernel=3, stride=2, padding="VALID", name="even", **ends)
    data = g.build(x, g.conv(second, 6, kernel=1, name="pointwise", per_channel=False, **ends))
    inputs = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (2, 1, 7, 9, 3)).astype(np.int16)
    inputs[1] = np.where(inputs[1] > 0, (1 << 15) - 1, -(1 << 15))
    assert device.measure(data, "model", core, rescale, inputs.reshape(-1, 7, 9, 3)).equal
