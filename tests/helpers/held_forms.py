# SPDX-License-Identifier: Apache-2.0
"""Forms in C, held to what they evaluate to."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tests.helpers.c_steps import CompiledSteps, is_read, step_of
from tflm_export.arithmetic import Tflm
from tflm_export.c.step import CStep
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import forms_of
from tflm_export.program.form import Form
from tflm_export.program.program import Step
from tflm_export.program.value import Value

Case = tuple[Form, Iterable[Sequence[np.ndarray]]]


def value(name: str, dtype, shape, data=None) -> Value:
    """A value of no file."""
    return Value(name, np.dtype(dtype), tuple(int(side) for side in shape), name, data)


def form_of(data: bytes) -> Form:
    """The one form of a model's one operator, with the stock runtimes' rescales."""
    (operator,) = parse(data).operators
    (form,) = forms_of(operator, Tflm())
    return form


def assert_held(emit: Callable[[Step], CStep], cases: Iterable[Case], *flags: str, cpp: bool = False) -> CompiledSteps:
    """Forms in C give what they evaluate to, all from one library.

    Args:
      emit: the emitter of all of them.
      cases: forms, each with several sets of inputs: an array for every input, constant ones too, of its shape.
      flags: for the compiler.
      cpp: whether they are C++17 instead of C99.

    Raises:
      AssertionError: other outputs, undefined behaviour, or memory touched that is not a step's.
    """
    cases = list(cases)
    compiled = CompiledSteps([emit(step_of(form)) for form, _ in cases], *flags, cpp=cpp)
    for i, (form, sets) in enumerate(cases):
        for inputs in sets:
            expected = form.evaluate(*(x[None] for x in inputs))
            given = [x for x, held in zip(inputs, form.inputs, strict=True) if is_read(held)]
            for found, wanted in zip(compiled.run(i, *given), expected, strict=True):
                np.testing.assert_array_equal(found, wanted[0], "\n".join([str(form), *compiled.steps[i].statements]))
    return compiled


def assert_equal_forms(
    forms: Iterable[Form], emit: Callable[[Step], CStep], seed: int = 0, rows: int = 3, flags: Sequence[str] = ()
) -> CompiledSteps:
    """`assert_held` on random inputs, on the ends of their types, and on both mixed."""
    random = np.random.default_rng(seed)
    cases = [(form, [[random_input(random, value) for value in form.inputs] for _ in range(rows)]) for form in forms]
    return assert_held(emit, cases, *flags)


def random_input(random: np.random.Generator, value) -> np.ndarray:
    """What an input may hold, ends of its type more often than not; its own elements where it is constant."""
    if not is_read(value):
        return value.data
    low, high = value.limits
    ends = random.choice([low, high], value.shape)
    inside = random.integers(low, high, value.shape, endpoint=True)
    where = random.random(value.shape) < random.choice([0.0, 0.5, 1.0])
    return np.where(where, ends, inside).astype(value.dtype)


def images_of(form: Form, random: np.random.Generator) -> list[list[np.ndarray]]:
    """Sets of inputs of integers: random ones, and those of only the smallest, the largest, and both."""
    limits = [value.limits for value in form.inputs]
    sets = [
        [random.integers(low, high, v.shape, v.dtype, True) for v, (low, high) in zip(form.inputs, limits, strict=True)]
    ]
    sets += [[random.choice(np.array(ends, v.dtype), v.shape) for v, ends in zip(form.inputs, limits, strict=True)]]
    sets += [[np.full(v.shape, ends[i], v.dtype) for v, ends in zip(form.inputs, limits, strict=True)] for i in (0, 1)]
    return [[np.asarray(x) for x in inputs] for inputs in sets]
