# SPDX-License-Identifier: Apache-2.0
"""The general kernel for movements of data."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.c_steps import step_of
from tests.helpers.held_forms import assert_held, value
from tflm_export.c.forms.move import MOST_AXES, blocks, move
from tflm_export.c.step import UnsupportedError
from tflm_export.program import move as movements
from tflm_export.program.move import Copy, Move

TYPES = [np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32]


def some(random, dtype, shape) -> np.ndarray:
    """Any bytes at all, as integers."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    array = random.integers(0, 256, count).astype(np.uint8).view(dtype).reshape(shape)
    return random.normal(size=shape).astype(np.float32) if dtype == np.float32 else array


def transposed(random, dtype, rank: int) -> Move:
    shape = random.integers(1, 6, rank).tolist()
    order = random.permutation(rank).tolist()
    x, y = value("x", dtype, shape), value("y", dtype, [shape[i] for i in order])
    return movements.regrouped(x, y, shape, order)


def selected(random, dtype, rank: int) -> Move:
    """Of every axis a slice, a slice backwards, some elements in any order, or each of them twice."""
    shape, positions = random.integers(1, 7, rank).tolist(), []
    for size in shape:
        how, every = random.integers(4), range(size)
        kinds = (every[random.integers(size) :], every[:: -random.integers(1, 3)], random.integers(0, size, 4).tolist())
        positions.append(kinds[how] if how < 3 else [i for i in every for _ in range(2)])
    x, y = value("x", dtype, shape), value("y", dtype, [len(p) for p in positions])
    return movements.selected(x, y, positions)


def padded(random, dtype, rank: int) -> Move:
    shape, before, after = random.integers(1, 5, (3, rank)).tolist()
    sides = [sum(axis) for axis in zip(shape, before, after, strict=True)]
    x, y = value("x", dtype, shape), value("y", dtype, sides)
    if dtype == np.float32:  # which have no fill
        return movements.same(x, value("y", dtype, shape))
    return movements.padded(x, y, before, int(random.choice(y.limits)))


def joined(random, dtype, rank: int) -> Move:
    shape, axis = random.integers(1, 5, rank).tolist(), int(random.integers(rank))
    widths = random.integers(1, 5, 3).tolist()
    parts = [value(f"x{i}", dtype, [*shape[:axis], width, *shape[axis + 1 :]]) for i, width in enumerate(widths)]
    return movements.joined(parts, value("y", dtype, [*shape[:axis], sum(widths), *shape[axis + 1 :]]), axis)


def repeated(random, dtype, rank: int) -> Move:
    shape, times = random.integers(1, 4, (2, rank)).tolist()
    sizes = [n for pair in zip(times, shape, strict=True) for n in pair]
    strides = [n for stride in movements.contiguous(shape) for n in (0, stride)]
    y = value("y", dtype, [a * b for a, b in zip(shape, times, strict=True)])
    return movements.repeated(value("x", dtype, shape), y, sizes, strides)


KINDS = [transposed, selected, padded, joined, repeated]


@native.requires_gcc
def test_every_movement_of_every_type():
    random, forms = np.random.default_rng(0), []
    for dtype in TYPES:
        for kind in KINDS:
            for rank in (1, 2, 3, 4):
                form = kind(random, dtype, rank)
                forms.append((form, [[some(random, dtype, x.shape) for x in form.inputs]]))
    assert_held(move, forms)


@native.requires_gcc
@native.requires_gpp
@pytest.mark.parametrize(("flag", "cpp"), [("-O0", False), ("-Og", False), ("-O3", False), ("-O2", True)])
def test_other_compilers_and_levels_of_optimisation(flag, cpp):
    random = np.random.default_rng(1)
    forms = [kind(random, dtype, 3) for dtype in (np.int16, np.float32) for kind in KINDS]
    assert_held(move, [(f, [[some(random, x.dtype, x.shape) for x in f.inputs]]) for f in forms], flag, cpp=cpp)


@native.requires_gcc
def test_more_axes_than_the_kernel_has_and_none_at_all():
    """Every second element of many axes, which cannot be gone through as fewer; one element; no element."""
    rank, random = MOST_AXES + 2, np.random.default_rng(2)
    x, y = value("x", np.int16, [3] * rank), value("y", np.int16, [2] * rank)
    many = movements.selected(x, y, [range(0, 3, 2)] * rank)
    scalar = movements.same(value("x", np.int64, []), value("y", np.int64, [1, 1]))
    forms = [(form, [[some(random, form.output.dtype, form.inputs[0].shape)]]) for form in (many, scalar)]
    nothing = value("y", np.int16, [0, 3])
    empty = Move(inputs=(x,), outputs=(nothing,), copies=(Copy(0, (0, 3), 0, (3, 1), 0, (3, 1)),))
    filled = Move(inputs=(value("x", np.int16, [0]),), outputs=(value("y", np.int16, [5]),), copies=(), fill=-3)
    forms += [(empty, [[some(random, np.int16, x.shape)]]), (filled, [[np.zeros(0, np.int16)]])]
    assert_held(move, forms)


def test_many_copies_are_a_table():
    """A hundred rows in any order: one call, and eight bytes for each."""
    order = np.random.default_rng(3).permutation(100).tolist()
    x = value("x", np.int8, [100, 7])
    step = move(step_of(movements.selected(x, value("y", np.int8, [100, 7]), [order, range(7)])))
    assert len(step.statements) == 2
    assert step.constant_bytes < 10 * 100


def test_rows_that_are_repeated_need_no_table():
    """An image of twice the height, as copies of each row to two places."""
    x, y = value("x", np.int8, [40, 12]), value("y", np.int8, [80, 12])
    form = movements.selected(x, y, [[i // 2 for i in range(80)], range(12)])
    assert len(form.copies) == 40
    (((_, axes), places),) = blocks(form.copies).items()
    assert (axes, places) == (((40, 12, 24), (2, 0, 12), (12, 1, 1)), [(0, 0)])


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(1, 4))
def test_blocks_give_what_the_copies_give(seed, kind, rank):
    """The same form from the blocks alone."""
    random = np.random.default_rng(seed)
    form = kind(random, np.int16, rank)
    copies = tuple(
        Copy(source, sizes, a, xs, b, ys)
        for (source, axes), places in blocks(form.copies).items()
        for sizes, xs, ys in [zip(*axes, strict=True)]
        for a, b in places
    )
    again = Move(inputs=form.inputs, outputs=form.outputs, copies=copies, fill=form.fill)
    inputs = [some(random, np.int16, (1, *x.shape)) for x in form.inputs]
    np.testing.assert_array_equal(again.evaluate(*inputs)[0], form.evaluate(*inputs)[0])


def test_movements_to_another_type_are_refused():
    """Only damaged files have them; the kernel would read elements of the output's size."""
    form = Move(
        inputs=(value("x", np.uint8, (2, 3)),), outputs=(value("y", np.int32, (2, 3)),),
        copies=(Copy(source=0, sizes=(6,), input_offset=0, input_strides=(1,), output_offset=0, output_strides=(1,)),),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="it moves UINT8 to INT32"):
        move(step_of(form))
