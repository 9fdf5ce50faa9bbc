# SPDX-License-Identifier: Apache-2.0
"""Layers of int8 of whose channels some have centred weights beyond int8, as those of uint8 models: on every core."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import corpus, native
from tests.helpers.c_internals import translate
from tests.helpers.c_steps import step_of
from tests.helpers.held_forms import assert_equal_forms
from tests.helpers.programs import Compiled
from tests.helpers.random_forms import Draw
from tests.helpers.sweeps import sampled
from tflm_export import narrow
from tflm_export.arithmetic import Narrow
from tflm_export.c.lowering import KERNELS
from tflm_export.grid import Grid
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows, axis_of, points
from tflm_export.simulator import simulate

pytestmark = native.requires_gcc
CORES = sorted(KERNELS)


def windows(draw: Draw, kernel: int) -> Windows:
    axis = axis_of(5 + draw.size(4), kernel, draw.size(2), 1, draw.flag())
    return Windows(axis, axis)


def layer(draw: Draw, groups: int, inputs: int, channels: int, over: Windows, wide: int) -> WeightedSum:
    """A layer some of whose channels have weights of -255 to 255."""
    kernel = (over.height.kernel, over.width.kernel)
    weights = draw.integers(np.int8, (groups, channels // groups, *kernel, inputs)).astype(np.int16)
    rows = weights.reshape(channels, -1)
    rows[draw.random.permutation(channels)[:wide], 0] = draw.random.integers(128, 256, wide) * draw.one([1, -1])
    images, reach = draw.size(2), float(np.abs(rows).sum(1).max()) * 255
    if over.width.size == 1:
        shapes = (over.height.size, inputs), (over.height.size, channels)
    else:
        sides = [(a.size, a.output) for a in (over.height, over.width)]
        shapes = ((images, *s, n) for s, n in zip(zip(*sides, strict=True), (groups * inputs, channels), strict=True))
    x, y = (draw.value(name, np.int8, shape) for name, shape in zip("xy", shapes, strict=True))
    return WeightedSum(
        inputs=(x,), outputs=(y,), weights=weights, bias=draw.integers(np.int16, channels).astype(np.int64),
        input_zero_point=draw.zero_point(np.int8), windows=over, zero_point=draw.zero_point(np.int8),
        rescale=draw.rescaler(reach, 128, draw.one([1, channels]), kind=draw.one(["narrow", "stock"])),
        clamp=draw.clamp(np.int8),
    )  # fmt: skip


def layers(draw: Draw) -> list[WeightedSum]:
    return [
        layer(draw, 1, 3, 8, windows(draw, 3), 1),
        layer(draw, 1, 8, 12, windows(draw, 1), 3),
        layer(draw, 8, 1, 8, windows(draw, 3), 2),
        layer(draw, 4, 1, 8, windows(draw, 2), 1),
        layer(draw, 1, 16, 8, points(draw.size(3)), 4),
    ]


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("seed", range(3))
def test_any_layer(core, seed):
    emitter = KERNELS[core]()
    compiled = assert_equal_forms(layers(Draw(seed)), emitter.emit)
    assert all("with weights beyond int8" in step.note for step in compiled.steps)
    assert not any(step.is_general for step in compiled.steps)


def test_layers_of_mostly_wide_channels_are_general():
    form = layer(Draw(0), 1, 8, 12, windows(Draw(0), 1), 7)
    emitted = KERNELS["cortex-m4"]().emit(step_of(form))
    assert emitted.is_general


def test_int16_weights_that_fit_int8_are_as_fast_as_int8():
    form = layer(Draw(0), 1, 8, 12, windows(Draw(0), 1), 0)
    emitter = KERNELS["cortex-m4"]()
    as_int8 = dataclasses.replace(form, weights=form.weights.astype(np.int8))
    assert emitter.emit(step_of(form)).statements == emitter.emit(step_of(as_int8)).statements


@pytest.mark.slow
@pytest.mark.parametrize("core", sampled(CORES, 3))
def test_a_uint8_network(core):
    """Layouts, planes between layers among them."""
    data, _ = narrow(corpus.read("models/coral__mobilenet_v1_0.25_128_quant"), 1)
    program = translate(data, "m", 1, core=core)
    x = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    (expected,) = simulate(data, [x], Narrow(Grid(1))).outputs
    found = Compiled(program).invoke(x)
    np.testing.assert_array_equal(found.view(np.uint8).reshape(-1), expected.reshape(-1))
    layers = [step for step in program.steps if "CONV" in step.origin.name and step.kernels != ("narrow_flip.h",)]
    assert len(layers) == 28
    assert not any(step.is_general for step in layers)
