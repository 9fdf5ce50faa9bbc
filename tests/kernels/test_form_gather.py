# SPDX-License-Identifier: Apache-2.0
"""Parts at computed places in C: to what the forms evaluate to, and with positions that nothing is at."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import Case, assert_held, value
from tests.helpers.random_forms import Draw
from tflm_export.c.forms import GENERAL
from tflm_export.c.step import UnsupportedError
from tflm_export.program.gather import Gather, GatherNd, Update

pytestmark = native.requires_gcc

MOVED = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32)
POSITIONS = (np.int16, np.int32, np.int64)
# Shapes of input and positions, axis, shared dimensions, shape of the output.
GATHERS = (
    ((2, 6, 6, 4), (4,), 3, 0, (2, 6, 6, 4)),
    ((1, 6, 6, 4), (2, 2), 1, 0, (1, 2, 2, 6, 4)),
    ((2, 6, 6, 4), (2,), 0, 0, (2, 6, 6, 4)),
    ((3, 6, 6, 4), (3, 5), 1, 1, (3, 5, 6, 4)),
    ((3, 2, 6, 4), (3, 5), 2, 1, (3, 2, 5, 4)),
    ((2, 3, 5, 4), (2, 3, 2), 2, 2, (2, 3, 2, 4)),
    ((7,), (), 0, 0, ()),
    ((7, 3), (0,), 0, 0, (0, 3)),
)
GATHERS_ND = (
    ((5, 6, 7), (4, 3), (4,)),
    ((5, 6, 7), (2, 2, 2), (2, 2, 7)),
    ((5, 6, 7), (1,), (6, 7)),
)
# Shapes of input and block.
UPDATES = (
    ((4, 6, 5), (2, 3, 4)),
    ((4, 6, 5), (1, 6, 5)),
    ((4, 6, 5), (4, 6, 5)),
    ((4, 6, 5), (4, 2, 5)),
    ((4, 6, 5), (2, 6, 1)),
    ((4, 6, 5), (0, 6, 5)),
    ((9,), (3,)),
    ((), ()),
)


def gather(dtype, kind, x, positions, axis, shared, y) -> Gather:
    inputs = value("x", dtype, x), value("positions", kind, positions)
    return Gather(inputs=inputs, outputs=(value("y", dtype, y),), axis=axis, shared=shared)


def gather_nd(dtype, kind, x, positions, y) -> GatherNd:
    return GatherNd(inputs=(value("x", dtype, x), value("p", kind, positions)), outputs=(value("y", dtype, y),))


def update(dtype, kind, x, block) -> Update:
    inputs = value("x", dtype, x), value("block", dtype, block), value("begin", kind, (len(x),))
    return Update(inputs=inputs, outputs=(value("y", dtype, x),))


def elements(random, kind: np.dtype, shape) -> np.ndarray:
    return random.integers(-100, 100, shape).astype(kind)


def types():
    """Every pair of what is moved and what says where from, one after another without end."""
    while True:
        yield from ((dtype, kind) for dtype in MOVED for kind in POSITIONS)


def test_gather():
    random, pairs = np.random.default_rng(0), types()
    cases = []
    for _ in range(3):
        for x, positions, axis, shared, y in GATHERS:
            form = gather(*next(pairs), x, positions, axis, shared, y)
            data, at = form.inputs
            cases.append((form, [[elements(random, data.dtype, x), random.integers(0, x[axis], positions, at.dtype)]]))
    assert_held(GENERAL[Gather], cases)


def test_gather_nd():
    random, pairs = np.random.default_rng(1), types()
    cases = []
    for _ in range(5):
        for x, positions, y in GATHERS_ND:
            form = gather_nd(*next(pairs), x, positions, y)
            data, at = form.inputs
            places = random.integers(0, x[: positions[-1]], positions).astype(at.dtype)
            cases.append((form, [[elements(random, data.dtype, x), places]]))
    assert_held(GENERAL[GatherNd], cases)


def test_update():
    """At any place: the simulator moves it, too, so that the block fits."""
    random, pairs = np.random.default_rng(2), types()
    cases = []
    for _ in range(3):
        for x, block in UPDATES:
            form = update(*next(pairs), x, block)
            data, _, begin = form.inputs
            ends = np.iinfo(begin.dtype)
            arrays = elements(random, data.dtype, x), elements(random, data.dtype, block)
            firsts = (random.integers(-2, 7, len(x)), random.choice([ends.min, 0, ends.max], len(x)))
            cases.append((form, [[*arrays, first.astype(begin.dtype)] for first in firsts]))
    assert_held(GENERAL[Update], cases)


def random_gather(draw: Draw) -> Case:
    dtype, kind = draw.one(MOVED), draw.one(POSITIONS)
    x = tuple(draw.size(4) for _ in range(draw.size(5)))
    axis = int(draw.random.integers(len(x)))
    shared = int(draw.random.integers(axis + 1))
    chosen = tuple(draw.size(3) for _ in range(draw.size(3) - 1))
    form = gather(dtype, kind, x, (*x[:shared], *chosen), axis, shared, (*x[:axis], *chosen, *x[axis + 1 :]))
    positions = draw.random.integers(0, x[axis], form.inputs[1].shape)
    return form, [[elements(draw.random, dtype, x), positions.astype(kind)]]


def random_gather_nd(draw: Draw) -> Case:
    dtype, kind = draw.one(MOVED), draw.one(POSITIONS)
    x = tuple(draw.size(4) for _ in range(draw.size(5)))
    rank, rows = int(draw.random.integers(1, len(x) + 1)), tuple(draw.size(3) for _ in range(draw.size(3) - 1))
    form = gather_nd(dtype, kind, x, (*rows, rank), (*rows, *x[rank:]))
    return form, [[elements(draw.random, dtype, x), draw.random.integers(0, x[:rank], (*rows, rank)).astype(kind)]]


def random_update(draw: Draw) -> Case:
    dtype, kind = draw.one(MOVED), draw.one(POSITIONS)
    block = tuple(draw.size(4) for _ in range(draw.size(5)))
    x = tuple(side + draw.one([0, 0, 1, 3]) for side in block)
    begin = draw.random.integers(-2, 6, len(x)).astype(kind)
    arrays = [elements(draw.random, dtype, x), elements(draw.random, dtype, block), begin]
    return update(dtype, kind, x, block), [arrays]


@pytest.mark.parametrize("draw_one", [random_gather, random_gather_nd, random_update])
def test_any(draw_one):
    draw = Draw(5)
    cases = [draw_one(draw) for _ in range(80)]
    (emit,) = {GENERAL[type(form)] for form, _ in cases}
    assert_held(emit, cases)


@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_outside_count_as_the_nearest(kind):
    """The simulator refuses them; C stays within its memory."""
    ends = np.iinfo(kind)
    at = np.array([ends.min, -1, 0, 4, 5, ends.max], kind)
    table = np.arange(15, dtype=np.int8).reshape(5, 3)
    forms = [gather(np.int8, kind, (5, 3), (6,), 0, 0, (6, 3)), gather_nd(np.int8, kind, (5, 3), (6, 1), (6, 3))]
    compiled = CompiledSteps([GENERAL[type(form)](step_of(form)) for form in forms])
    for i, positions in enumerate((at, at[:, None])):
        np.testing.assert_array_equal(compiled.run(i, table, positions)[0], table[[0, 0, 0, 4, 4, 4]])


@pytest.mark.parametrize(
    "form",
    [
        gather(np.int8, np.int32, (5, 3), (4,), 0, 0, (3, 3)),
        gather(np.int8, np.int32, (0, 3), (4,), 0, 0, (4, 3)),
        gather(np.int8, np.int32, (5, 3), (5, 3), 0, 1, (5, 3)),
        gather_nd(np.int8, np.int32, (5, 3), (2, 3), (2,)),
        gather_nd(np.int8, np.int32, (5, 0), (2, 2), (2,)),
        update(np.int8, np.int32, (5, 3), (6, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(form):
    """The simulator says so when it runs; here nothing would keep the kernel from reading or writing elsewhere."""
    with pytest.raises(UnsupportedError, match=r"inputs of \[.* do not give \["):
        GENERAL[type(form)](step_of(form))
