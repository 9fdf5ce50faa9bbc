# SPDX-License-Identifier: Apache-2.0
"""C of programs that keep something from one inference to the next, against the programs themselves."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.programs import Compiled
from tflm_export import ModelError, c
from tflm_export.program.call import CallOnce
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.move import same
from tflm_export.program.program import Block, Origin, Program, Step
from tflm_export.program.value import Value

pytestmark = native.requires_gcc

SHAPE = (1, 5)


def value(name: str, dtype=np.int32, **more) -> Value:
    return Value(name, np.dtype(dtype), SHAPE, name, **more)


def variable(name: str, start) -> Value:
    return value(name, data=np.array([start], np.int32), is_variable=True)


def added(a: Value, b: Value, y: Value) -> Elementwise:
    return Elementwise(inputs=(a, b), outputs=(y,), function="add")


def once(index: int) -> CallOnce:
    return CallOnce(inputs=(), outputs=(), block=index)


def block(inputs, outputs, *forms) -> Block:
    origin = [Origin(0, i, f"OP{i}", "", f"operator {i}") for i in range(len(forms))]
    return Block(tuple(inputs), tuple(outputs), tuple(map(Step, origin, forms)))


X, Y, READ, TWICE = value("x"), value("y"), value("read"), value("twice")
TOTAL, LAST, ZEROS = variable("total", [1, -2, 3, 70000, 5]), variable("last", [7] * 5), variable("zeros", [0] * 5)
FIRST, SECOND = (value(name, data=np.full(SHAPE, number, np.int32)) for name, number in (("a", 100), ("b", -7)))

PROGRAMS = {
    "a variable that a step reads and writes": [
        block([X], [Y], added(X, TOTAL, TOTAL), same(TOTAL, Y)),
    ],
    "a variable that is read before and after it is written": [
        block([X], [READ, Y], same(LAST, READ), same(X, LAST), added(LAST, READ, Y)),
    ],
    "a variable as output": [block([X], [ZEROS, Y], added(X, ZEROS, ZEROS), added(X, X, Y))],
    "blocks that run once, one of them called by another and again": [
        block([X], [Y], once(1), added(X, TOTAL, Y), once(2), same(Y, TOTAL)),
        block([], [], same(FIRST, TOTAL), once(2), added(TOTAL, LAST, TWICE), same(TWICE, TOTAL)),
        block([], [], added(LAST, SECOND, LAST), once(1)),
    ],
    "constants that variables start with": [
        block([X], [Y, READ], once(1), same(LAST, READ), added(X, TOTAL, Y), same(Y, TOTAL)),
        block([], [], same(FIRST, TOTAL), same(SECOND, LAST)),
    ],
    "a block that is called in the middle": [
        block([X], [Y], added(X, TOTAL, READ), once(1), added(READ, TOTAL, Y)),
        block([], [], added(FIRST, SECOND, TWICE), added(TWICE, TOTAL, TOTAL)),
    ],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_frames_in_order(name):
    """In two contexts whose frames alternate, and again after a reset."""
    program = Program(tuple(PROGRAMS[name]))
    compiled = Compiled(c.lower(program, "m"))
    contexts = [compiled.start(), compiled.start()]
    frames = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (2, 6, *SHAPE)).astype(np.int32)
    for _ in range(2):
        expected = [program.run([rows]) for rows in frames]
        for i in range(frames.shape[1]):
            for context, rows, wanted in zip(contexts, frames, expected, strict=True):
                for found, y in zip(context.invoke(rows[i]), program.main.outputs, strict=True):
                    np.testing.assert_array_equal(found, wanted[y.key][i], f"frame {i}")
        for context in contexts:
            context.reset()


def test_a_variable_has_one_shape():
    other = Value("total", np.dtype(np.int32), (1, 6), "total", data=np.zeros((1, 6), np.int32), is_variable=True)
    longer = Value("long", np.dtype(np.int32), (1, 6), "long")
    program = Program((block([X], [longer], same(X, TOTAL), same(other, longer)),))
    with pytest.raises(ModelError, match=r"the variable total is INT32 \[1, 5\] and INT32 \[1, 6\]"):
        c.lower(program, "m")


def test_constants_that_variables_start_with_take_no_step():
    program = c.lower(Program(tuple(PROGRAMS["constants that variables start with"])), "m")
    assert not program.first
    assert [step.origin.index for step in program.steps] == [1, 2, 3]
