# SPDX-License-Identifier: Apache-2.0
"""Reductions over any axes of any types in C: to what the forms evaluate to, and to exact arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_held, images_of, value
from tests.helpers.random_forms import Draw
from tflm_export.arithmetic import Narrow, Target, Tflm
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.grid import Grid
from tflm_export.program.form import Form, reach
from tflm_export.program.reduction import Extreme, Mean, Position, Total
from tflm_export.rescale import RealRescale, Rescale, RoundingShift

pytestmark = native.requires_gcc

INTEGERS = (np.int8, np.uint8, np.int16)
ALL = (*INTEGERS, np.int32, np.int64)
SHAPES = (
    ((2, 3, 4, 5), (1, 2)),
    ((2, 3, 4, 5), (1, 3)),
    ((2, 3, 4, 5), (0, 2)),
    ((3, 1, 4, 1, 5), (0, 1, 4)),
    ((3, 2, 2, 3, 2, 2), (1, 3, 5)),
    ((4, 7), (0, 1)),
    ((4, 7), ()),
    ((1, 1), (1,)),
    ((), ()),
    ((9,), (0,)),
    ((1, 300, 2), (1,)),
)


def kept(shape, axes) -> tuple[int, ...]:
    return tuple(side for axis, side in enumerate(shape) if axis not in axes)


def rescaled(dtype, shape, axes, random, kind: str):
    """A mean or a sum by an arithmetic of its own, with factors near 1 or far from it."""
    limits = np.iinfo(dtype)
    x, y = value("x", dtype, shape), value("y", dtype, kept(shape, axes))
    zeros = [int(v) for v in random.integers(limits.min, limits.max + 1, 2)]
    factor = float(np.float32(2.0 ** random.choice([-9.3, -1.7, -0.2, 0, 0.6, 3.1])))
    count = math.prod(shape[axis] for axis in axes)
    factor = factor / count if kind.endswith("total") else factor
    arithmetic = Tflm() if kind.startswith("stock") else Narrow(Grid(int(random.choice([1, 4, 8, 31]))))
    made = arithmetic.mean if kind.endswith("mean") else arithmetic.total
    return made(x, axes, zeros[0], factor, Target(y, 1.0, zeros[1], (int(limits.min), int(limits.max))))


def extreme(dtype, shape, axes, is_largest) -> Extreme:
    x, y = value("x", dtype, shape), value("y", dtype, kept(shape, axes))
    return Extreme(inputs=(x,), outputs=(y,), axes=axes, is_largest=is_largest)


def position(dtype, wanted, shape, axis, is_largest) -> Position:
    x, y = value("x", dtype, shape), value("y", wanted, kept(shape, (axis,)))
    return Position(inputs=(x,), outputs=(y,), axes=(axis,), is_largest=is_largest)


@pytest.mark.parametrize("kind", ["narrow mean", "stock mean", "narrow total", "stock total"])
def test_sums(kind):
    random = np.random.default_rng(len(kind))
    cases = []
    for shape, axes in SHAPES:
        for dtype in INTEGERS:
            form = rescaled(dtype, shape, axes, random, kind)
            cases.append((form, images_of(form, random)))
    (emit,) = {GENERAL[type(form)] for form, _ in cases}
    assert_held(emit, cases)


def random_reduction(draw: Draw, kind: type) -> Form:
    """Of up to seven dimensions and any axes, with any rescale."""
    shape = tuple(draw.size(4) for _ in range(draw.size(8) - 1))
    axes = tuple(axis for axis in range(len(shape)) if draw.flag())
    dtype = draw.one(INTEGERS)
    if kind is Extreme:
        return extreme(draw.one(ALL), shape, axes, draw.flag())
    if kind is Position:
        shape = (*shape, draw.size(4))
        return position(
            draw.one((*ALL, np.float32)), draw.one((np.int32, np.int64)), shape, len(shape) // 2, draw.flag()
        )
    zeros, y = (draw.zero_point(dtype), draw.zero_point(dtype)), value("y", dtype, kept(shape, axes))
    x, count = value("x", dtype, shape), math.prod(shape[axis] for axis in axes)
    if kind is Mean:
        factor = float(2.0 ** draw.random.uniform(-8, 4))
        target = Target(y, 1.0, zeros[1], y.limits)
        return Narrow(Grid(draw.one([1, 4, 16, 31]))).mean(x, axes, zeros[0], factor, target)
    rescale = draw.rescaler(reach(x, zeros[0]) * count, y.limits[1])
    return Total(
        inputs=(x,), outputs=(y,), axes=axes, input_zero_point=zeros[0], rescale=rescale, zero_point=zeros[1]
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Mean, Total, Extreme, Position])
def test_any(kind):
    draw = Draw(3)
    forms = [random_reduction(draw, kind) for _ in range(60)]
    images = [
        draw.integers(x.dtype, x.shape) if x.dtype != np.float32 else draw.random.normal(size=x.shape).astype(x.dtype)
        for (x,) in (form.inputs for form in forms)
    ]
    assert_held(GENERAL[kind], [(form, [[image]]) for form, image in zip(forms, images, strict=True)])


def test_a_mean_is_one_exact_rounding():
    """Halves up, of the rational number that multiplier, shift and count stand for; also where it takes 64 bits."""
    random = np.random.default_rng(0)
    x, y = value("x", np.int16, (3, 5, 4)), value("y", np.int16, (5,))
    arithmetic = Narrow(Grid(31))
    factors = (0.3, 2.0**-20 / 3, 1.7)
    limits = (-32768, 32767)
    forms = [arithmetic.mean(x, (0, 2), 11, factor, Target(y, 1.0, -5, limits)) for factor in factors]
    compiled = CompiledSteps([GENERAL[Mean](step_of(form)) for form in forms])
    image = random.choice([-32768, -1, 0, 32767], x.shape).astype(np.int16)
    for i, factor in enumerate(factors):
        held = arithmetic.rescale(factor)
        exact = Fraction(int(held.multiplier)) / Fraction(2) ** int(held.shift) / 12
        sums = (image.astype(int) - 11).sum((0, 2)).tolist()
        wanted = [min(max(math.floor(exact * v + Fraction(1, 2)) - 5, limits[0]), limits[1]) for v in sums]
        assert compiled.run(i, image)[0].tolist() == wanted


def test_a_total_that_only_shifts():
    form = Total(
        inputs=(value("x", np.int16, (4, 3)),), outputs=(value("y", np.int16, (4,)),), axes=(1,), zero_point=3,
        input_zero_point=0, rescale=RoundingShift(2),
    )  # fmt: skip
    assert_held(GENERAL[Total], [(form, images_of(form, np.random.default_rng(0)))])


@pytest.mark.parametrize("is_largest", [True, False])
def test_extremes(is_largest):
    random = np.random.default_rng(3)
    cases = []
    for shape, axes in SHAPES:
        for dtype in ALL:
            form = extreme(dtype, shape, axes, is_largest)
            cases.append((form, images_of(form, random)))
    assert_held(GENERAL[Extreme], cases)


@pytest.mark.parametrize("is_largest", [True, False])
def test_positions(is_largest):
    """The first of equals; also of integers whose difference leaves their type, and of real and infinite numbers."""
    random = np.random.default_rng(4)
    cases = []
    for shape, axis in (((2, 3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), 2), ((9,), 0), ((1, 5), 0)):
        for dtype in (*ALL, np.float32):
            for wanted in (np.int32, np.int64):
                form = position(dtype, wanted, shape, axis, is_largest)
                real = [[random.choice([-np.inf, -0.0, 0.0, 1e-40, 3.5, np.inf], shape).astype(np.float32)]]
                cases.append((form, real if dtype == np.float32 else images_of(form, random)))
    assert_held(GENERAL[Position], cases)


def total_of(dtype, count, rescale) -> Total:
    x, y = value("x", dtype, (count,)), value("y", dtype, ())
    return Total(inputs=(x,), outputs=(y,), axes=(0,), zero_point=0, input_zero_point=0, rescale=rescale)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnsupportedError, match="a RealRescale has no kernel"):
        GENERAL[Total](step_of(total_of(np.int8, 4, RealRescale(np.array([0.5])))))
    with pytest.raises(UnsupportedError, match="its sum can reach 2147516416, beyond the 31 bits"):
        GENERAL[Total](step_of(total_of(np.int16, 65537, Tflm().rescale(0.5))))
    with pytest.raises(UnsupportedError, match="too large for 64-bit arithmetic"):
        GENERAL[Total](step_of(total_of(np.int16, 4, Rescale(np.int64(1), np.int64(-60)))))
    x, y = value("x", np.int8, (4,)), value("y", np.int8, ())
    far = Mean(
        inputs=(x,), outputs=(y,), axes=(0,), input_zero_point=0, rescale=Rescale(np.int64(1), np.int64(9)),
        factor=1 << 60, start=0, divisor=3,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="too far apart for 64-bit arithmetic"):
        GENERAL[Mean](step_of(far))


def test_a_sum_of_more_than_32_bits():
    """One rounding takes it; two roundings, of 32 bits, do not."""
    form = total_of(np.int16, 70_000, Rescale(np.int64(1), np.int64(17)))
    assert_held(GENERAL[Total], [(form, images_of(form, np.random.default_rng(0)))])
