# SPDX-License-Identifier: Apache-2.0
"""Movements of data as strided copies, against numpy's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export.program import move
from tflm_export.program.value import Value

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
RUNS = 3


def value(shape, name="x") -> Value:
    return Value(name, np.dtype(np.int8), tuple(int(n) for n in shape))


def elements(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (RUNS, *shape)).astype(np.int8)


def assert_moves(form: move.Move, inputs: list[np.ndarray], expected: np.ndarray) -> None:
    (found,) = form.evaluate(*inputs)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, expected)


@given(SHAPES, st.data())
def test_regrouped_is_a_transpose(shape, data):
    order = data.draw(st.permutations(range(len(shape))))
    x = elements(shape)
    expected = x.transpose(0, *(axis + 1 for axis in order))
    assert_moves(move.regrouped(value(shape), value(expected.shape[1:], "y"), shape, order), [x], expected)


@given(SHAPES, st.data())
def test_selected_takes_positions_of_every_axis(shape, data):
    positions = [data.draw(st.lists(st.integers(0, side - 1), min_size=1, max_size=6)) for side in shape]
    x = elements(shape)
    expected = x[(slice(None), *np.ix_(*positions))]
    assert_moves(move.selected(value(shape), value(expected.shape[1:], "y"), positions), [x], expected)


@given(SHAPES, st.integers(-128, 127), st.data())
def test_padded_is_a_border(shape, fill, data):
    border = [data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in shape]
    x = elements(shape)
    expected = np.pad(x, [(0, 0), *border], constant_values=fill)
    form = move.padded(value(shape), value(expected.shape[1:], "y"), [before for before, _ in border], fill)
    assert_moves(form, [x], expected)
    assert move.padding_of(form) == border


@given(SHAPES, st.data())
def test_joined_and_parts_are_inverse(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    widths = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    shapes = [(*shape[:axis], width, *shape[axis + 1 :]) for width in widths]
    pieces = [elements(s, i) for i, s in enumerate(shapes)]
    whole = np.concatenate(pieces, axis + 1)
    values = [value(s, i) for i, s in enumerate(shapes)]
    y = value(whole.shape[1:], "y")
    assert_moves(move.joined(values, y, axis), pieces, whole)
    for form, piece in zip(move.parts(y, values, axis, widths), pieces, strict=True):
        assert_moves(form, [whole], piece)


@given(SHAPES, st.data())
def test_repeated_is_a_tile(shape, data):
    counts = [data.draw(st.integers(1, 3)) for _ in shape]
    x = elements(shape)
    expected = np.tile(x, (1, *counts))
    sizes = [size for pair in zip(counts, shape, strict=True) for size in pair]
    strides = [step for stride in move.contiguous(shape) for step in (0, stride)]
    assert_moves(move.repeated(value(shape), value(expected.shape[1:], "y"), sizes, strides), [x], expected)


def test_a_constant_is_one_for_all_inferences():
    form = move.joined([value((2,), "a"), value((1,), "b")], value((3,), "y"), 0)
    (found,) = form.evaluate(np.zeros((4, 2), np.int8), np.full((1, 1), 5, np.int8))
    np.testing.assert_array_equal(found, [[0, 0, 5]] * 4)


@pytest.mark.parametrize("sizes", [(3, 2), (6,), (1, 6, 1), (2, 3)])
def test_identity_is_the_same_elements_in_order(sizes):
    x, y = value((3, 2)), value((6,), "y")
    assert move.repeated(x, y, sizes, move.contiguous(sizes)).is_identity
    assert move.same(x, y).is_identity
    assert not move.regrouped(x, value((2, 3), "y"), (3, 2), (1, 0)).is_identity
    assert not move.selected(x, value((3, 2), "y"), [range(2, -1, -1), range(2)]).is_identity


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: move.same(x, value((5,), "y")),
        lambda x, y: move.regrouped(x, y, (3, 2), (0, 0)),
        lambda x, y: move.regrouped(x, y, (3, 3), (0, 1)),
        lambda x, y: move.selected(x, y, [range(3), [0, 2]]),
        lambda x, y: move.selected(x, y, [range(3), [0, -1]]),
        lambda x, y: move.padded(x, y, [1, 0], 0),
        lambda x, y: move.padded(x, y, [0], 0),
        lambda x, y: move.joined([x, x], y, 0),
        lambda x, y: move.parts(x, [y], 0, [2])[0],
        lambda x, y: move.repeated(x, y, (3, 2), (3, 1)),
        lambda x, y: move.repeated(x, y, (3, 2), (-1, 1)),
    ],
)
def test_what_leaves_a_tensor_is_refused(make):
    with pytest.raises(ValueError, match=r"no |moved|outside|fall|fit|become|is no"):
        make(value((3, 2)), value((3, 2), "y"))
