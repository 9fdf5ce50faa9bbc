# SPDX-License-Identifier: Apache-2.0
"""The general kernels of pools: every type."""

import fractions
import math

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_equal_forms
from tests.helpers.random_forms import Draw
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.value import Value
from tflm_export.program.windows import Windows, axis_of

pytestmark = native.requires_gcc
TYPES = (np.int8, np.uint8, np.int16)


def emit(step):
    return GENERAL[type(step.form)](step)


def random_axis(draw: Draw):
    kernel = draw.size(4)
    return axis_of(kernel + draw.size(6) - 1, kernel, draw.size(4), 1, draw.flag())


def random_form(draw: Draw):
    dtype, windows = draw.one(TYPES), Windows(random_axis(draw), random_axis(draw))
    images, channels = draw.size(3), draw.size(4)
    return draw.one([AveragePool, MaxPool])(
        inputs=(draw.value("x", dtype, (images, windows.height.size, windows.width.size, channels)),),
        outputs=(draw.value("y", dtype, (images, windows.height.output, windows.width.output, channels)),),
        windows=windows,
        clamp=draw.clamp(dtype),
    )


@pytest.mark.parametrize("seed", range(2))
def test_any_form(seed):
    draw = Draw(seed)
    assert_equal_forms([random_form(draw) for _ in range(40)], emit, seed)


def pool(kind, size: int, dtype=np.int16):
    axis, limits = axis_of(size, size, 1, 1, same=False), np.iinfo(dtype)
    windows = Windows(axis, axis_of(1, 1, 1, 1, same=False))
    return kind(
        inputs=(Value("x", np.dtype(dtype), (1, size, 1, 1)),),
        outputs=(Value("y", np.dtype(dtype), (1, 1, 1, 1)),),
        windows=windows,
        clamp=(int(limits.min), int(limits.max)),
    )


@pytest.mark.parametrize("elements", [[1, 2], [-1, -2], [3, 4, 4], [-3, -4, -4], [32767] * 7, [-32768] * 6])
def test_halves_go_away_from_zero(elements):
    compiled = CompiledSteps([emit(step_of(pool(AveragePool, len(elements))))])
    (y,) = compiled.run(0, np.array(elements, np.int16).reshape(1, -1, 1, 1))
    mean = fractions.Fraction(sum(elements), len(elements))
    magnitude = math.floor(abs(mean) + fractions.Fraction(1, 2))
    assert y.item() == (magnitude if mean > 0 else -magnitude)


def test_sums_beyond_32_bits_are_refused():
    with pytest.raises(UnsupportedError, match="sums of 65536 elements of INT16 can leave 32 bits"):
        emit(step_of(pool(AveragePool, 1 << 16)))
    emit(step_of(pool(MaxPool, 1 << 16)))


def test_the_largest_sum_of_32_bits():
    elements = (1 << 16) - 1
    compiled = CompiledSteps([emit(step_of(pool(AveragePool, elements)))])
    for integer in (-32768, 32767):
        (y,) = compiled.run(0, np.full((1, elements, 1, 1), integer, np.int16))
        assert y.item() == integer
