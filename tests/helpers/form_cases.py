# SPDX-License-Identifier: Apache-2.0
"""Single forms as C against what they evaluate to, on inputs that a test chooses."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tests.helpers.c_steps import CompiledSteps, is_read, step_of
from tflm_export.c.step import CStep
from tflm_export.program.form import Form
from tflm_export.program.program import Step
from tflm_export.program.value import Value

Case = tuple[Form, Iterable[Sequence[np.ndarray]]]


def value(name: str, dtype, shape, data=None) -> Value:
    """A value of no file."""
    return Value(name, np.dtype(dtype), tuple(shape), name, data)


def check(emit: Callable[[Step], CStep], cases: Iterable[Case], *flags: str, cpp: bool = False) -> None:
    """Forms in C give what they evaluate to.

    Args:
      emit: the emitter of all of them.
      cases: forms, each with several sets of inputs; an array for every input, constant ones too, of its shape.
      flags: of the compiler.
      cpp: whether they are C++17 instead of C99.

    Raises:
      AssertionError: other outputs, undefined behaviour, or memory touched that is not a step's.
    """
    cases = list(cases)
    compiled = CompiledSteps([emit(step_of(form)) for form, _ in cases], *flags, cpp=cpp)
    for i, (form, rows) in enumerate(cases):
        for inputs in rows:
            expected = form.evaluate(*(x[None] for x in inputs))
            given = [x for x, held in zip(inputs, form.inputs, strict=True) if is_read(held)]
            for found, wanted in zip(compiled.run(i, *given), expected, strict=True):
                np.testing.assert_array_equal(found, wanted[0], "\n".join(compiled.steps[i].statements))
