# SPDX-License-Identifier: Apache-2.0
"""Rescalers in Verilog compute what the simulator does: random vectors, corners and ties through CXXRTL."""

import dataclasses

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.hardware import cxxrtl
from benchmarks.hardware.cxxrtl import Design
from tests.helpers.hardware import ALL
from tests.helpers.rescaler_vectors import Shape, vectors
from tflm_export.rescale import Rescale

COUNT = 200_000
STOCK = Shape(31, shift_min=31)
# With shifts to the left.
LEFT = dataclasses.replace(STOCK, shift_min=24)
SHAPES = [*(Shape(k) for k in ((1, 2, 3, 4, 6, 8, 16) if ALL else (1, 3, 8))), STOCK, LEFT, Shape("csd")]


def design(shape: Shape, **more: int) -> Design:
    return Design(shape.block, shape.parameters | more)


def outputs(block: cxxrtl.Block, cases, shape: Shape) -> np.ndarray:
    return block(**cases.ports(shape))["y"]


@pytest.fixture(scope="module")
def blocks() -> dict[Shape, cxxrtl.Block]:
    designs = [design(shape, **{"PRODUCT": 0} if shape is LEFT else {}) for shape in SHAPES]
    return dict(zip(SHAPES, cxxrtl.build_all(designs), strict=True))


@pytest.mark.sweep(3)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_vectors(blocks, shape):
    cases = vectors(shape, COUNT)
    assert len(cases) >= COUNT
    assert shape is not LEFT or (cases.shift < 31).sum() > COUNT // 10
    assert cases.wrong(outputs(blocks[shape], cases, shape), shape) == []


def test_vectors_are_what_they_are_for():
    """Ties, both ends, and accumulators at their ends are among them, for every width."""
    for shape in SHAPES:
        cases = vectors(shape, 30_000)
        product = cases.accumulator.astype(object) * cases.multiplier.astype(object)
        unit = 1 << cases.shift.astype(object)
        if shape.k != 31:
            assert (product % unit == unit // 2).sum() > 3_000
        y = cases.expected(shape)
        inside = (cases.low < y) & (y < cases.high)
        assert min(inside.sum(), (y == cases.low).sum(), (y == cases.high).sum()) > 3_000
        assert {-(1 << 31), (1 << 31) - 1} <= set(cases.accumulator.tolist())


def test_the_formula_itself():
    """What the blocks are compared with, against Python's integers."""
    shape = Shape(8)
    cases = vectors(shape, 3_000)
    columns = (getattr(cases, field.name).tolist() for field in dataclasses.fields(cases))
    y = [
        min(max(zero_point + ((acc * m + (1 << (s - 1))) >> s), low), high)
        for acc, m, s, zero_point, low, high in zip(*columns, strict=True)
    ]
    np.testing.assert_array_equal(cases.expected(shape), y)


shapes = st.builds(
    Shape,
    k=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 11, 16]),
    acc_bits=st.integers(8, 32),
    shift_min=st.integers(-6, 12),
    shift_bits=st.integers(1, 5),
    out_bits=st.sampled_from([4, 8, 16]),
)


@settings(max_examples=20 if ALL else 1, phases=(Phase.generate,))
@given(st.lists(shapes, min_size=4, max_size=4, unique=True), st.sampled_from([0, 1, 2]))
def test_any_parameters(some, product):
    built = cxxrtl.build_all([design(shape, PRODUCT=product) for shape in some])
    for shape, block in zip(some, built, strict=True):
        cases = vectors(shape, 20_000)
        assert cases.wrong(outputs(block, cases, shape), shape) == []


def test_multipliers_without_a_hidden_bit():
    """All multipliers from 0 on."""
    shape = Shape(4, acc_bits=16, shift_bits=4)
    whole, single = cxxrtl.build_all([design(s, HIDDEN_BIT=0) for s in (shape, dataclasses.replace(shape, k=1))])
    cases = vectors(shape, 20_000)
    for block, most in ((whole, 15), (single, 1)):
        multiplier = np.random.default_rng(1).integers(0, most + 1, len(cases))
        y = block(**cases.ports(shape) | {"multiplier": multiplier})["y"]
        wanted = Rescale(multiplier, cases.shift).apply(cases.accumulator) + cases.zero_point
        np.testing.assert_array_equal(y, np.clip(wanted, cases.low, cases.high))


def test_rounding_and_zero_point_in_the_accumulator():
    """With a multiplier of 1, half + (zero_point << s) is a matter of the bias."""
    shape = Shape(1)
    cases = vectors(shape, COUNT)
    folded = cases.accumulator + (np.int64(1) << cases.shift >> 1) + (cases.zero_point << cases.shift)
    cases, folded = (part[(folded >= -(1 << 31)) & (folded < 1 << 31)] for part in (cases, folded))
    assert len(cases) > COUNT // 2
    (block,) = cxxrtl.build_all([design(shape, FOLDED=1)])
    y = block(**cases.ports(shape) | {"acc": folded, "zero_point": 0})["y"]
    assert cases.wrong(y, shape) == []
