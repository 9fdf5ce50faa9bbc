# SPDX-License-Identifier: Apache-2.0
"""Vectors of length one, through kernels/narrow_normalize.h."""

from tflm_export.c.forms.statements import INT32_REACH
from tflm_export.c.literals import integers
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.form import reach
from tflm_export.program.normalization import Normalization
from tflm_export.program.program import Step
from tflm_export.rescale import MAX_BITS


def normalization(step: Step[Normalization]) -> CStep:
    """Over the last dimension.

    Raises:
      UnsupportedError: the sum of a row's squares can leave 32 bits, as it can in the runtimes.
    """
    form, (x,) = step.form, step.form.inputs
    depth, largest = x.shape[-1] if x.shape else 1, reach(x, form.input_zero_point)
    if max(depth * largest * largest, largest << form.left_shift) >= INT32_REACH:
        raise UnsupportedError(f"the squares of {depth} elements of {x.dtype.name.upper()} can leave 32 bits")
    numbers = integers(
        x.size // max(depth, 1),
        depth,
        form.input_zero_point,
        form.left_shift,
        form.right_shift - MAX_BITS,
        form.zero_point,
        *form.output.limits,
    )
    call = f"narrow_normalize({literal(x.dtype)}, {literal(form.output.dtype)}, {numbers}, x0, y);"
    return CStep(step.origin, form.inputs, form.outputs, (call,), kernels=("narrow_normalize.h",))
