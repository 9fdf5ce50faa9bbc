# SPDX-License-Identifier: Apache-2.0
"""One value of any type at another scale, with one slope, two, or one for each element."""

import numpy as np

from tflm_export.c.forms import rescaled
from tflm_export.c.forms.lookup import from_table, is_small, requantized, values_of
from tflm_export.c.forms.two_values import slopes
from tflm_export.c.literals import integers
from tflm_export.c.step import CStep
from tflm_export.c.types import literal
from tflm_export.program.lookup import every_integer
from tflm_export.program.program import Step
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.rescale import IDENTITY

_BYTES = {np.dtype(np.int8), np.dtype(np.uint8)}


def requantize(step: Step[Requantize]) -> CStep:
    """A table for inputs of 8 bits, unless all there is to do is to add something."""
    form, (x,) = step.form, step.form.inputs
    if is_small(step):
        values = values_of(step)
        if {x.dtype, form.output.dtype} == _BYTES and np.array_equal(values, every_integer(form.output.dtype)):
            call = f"narrow_flip({x.size}, x0, y);"
            return CStep(step.origin, (x,), form.outputs, (call,), kernels=("narrow_flip.h",))
        moved = every_integer(x.dtype) - form.input_zero_point + form.zero_point
        if not np.array_equal(values, np.clip(moved, *form.clamp)):
            return from_table(step, values)
        return requantized(step, IDENTITY, (form.input_zero_point, form.zero_point), form.clamp)
    if form.below is None:
        return requantized(step, form.rescale, (form.input_zero_point, form.zero_point), form.clamp)
    return _two_slopes(step)


def _two_slopes(step: Step[Requantize]) -> CStep:
    form, (x,) = step.form, step.form.inputs
    low, high = rescaled.centred(x.limits, form.input_zero_point)
    above, below = rescaled.factors(form.rescale, (0, high)), rescaled.factors(form.below, (low, 0))
    call = (
        f"narrow_requantize_slopes({literal(x.dtype)}, {literal(form.output.dtype)}, {above.rounding}, "
        f"{below.rounding}, {x.size}, &above_factors, &below_factors, "
        f"{integers(form.below_sign, form.input_zero_point, form.zero_point)}, "
        f"{rescaled.ends(form.clamp, form.zero_point)}, x0, y);"
    )
    statements = (above.statement("above_"), below.statement("below_"), call)
    constants = above.constants("above_") | below.constants("below_")
    return CStep(step.origin, (x,), form.outputs, statements, constants, kernels=("narrow_requantize.h",))


def prelu(step: Step[Prelu]) -> CStep:
    """A table where it is a function of one integer of 8 bits."""
    return from_table(step, values_of(step)) if is_small(step) else slopes(step)
