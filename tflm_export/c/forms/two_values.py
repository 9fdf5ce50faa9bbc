# SPDX-License-Identifier: Apache-2.0
"""Functions of two values of any types, broadcasting."""

import dataclasses

import numpy as np

from tflm_export.c import broadcast
from tflm_export.c.forms import rescaled
from tflm_export.c.literals import integers
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.form import Broadcasting
from tflm_export.program.product import Product
from tflm_export.program.program import Step
from tflm_export.program.requantize import Prelu


def elementwise(step: Step[Elementwise]) -> CStep:
    form, y = step.form, step.form.output
    wraps_in = np.result_type(*(x.dtype for x in form.inputs))
    if wraps_in.itemsize < y.dtype.itemsize and form.function not in ("maximum", "minimum"):
        raise UnsupportedError(f"{wraps_in.name.upper()} that wraps has no kernel that gives {y.dtype.name.upper()}")
    clamp = y.limits if form.clamp is None else form.clamp
    function = f"NARROW_FUNCTION_{form.function.upper()}"
    call = f"narrow_elementwise({function}, {_types(form)}, &shape, {integers(*clamp)}, x0, x1, y);"
    return _walked(step, (call,), {}, "narrow_elementwise.h")


def aligned_sum(step: Step[AlignedSum]) -> CStep:
    """In 32 bits where they suffice."""
    form = step.form
    if form.reach >= 1 << 63:
        raise UnsupportedError("the scales of its inputs and output are too far apart for 64-bit arithmetic")
    low, high = rescaled.INT32
    is_wide = form.reach > high or form.clamp[0] < low or form.clamp[1] > high
    name, widest = ("narrow_aligned_sum_wide", 63) if is_wide else ("narrow_aligned_sum", 31)
    # A sum shifted by all of its bits is its sign, and by more of them, too.
    numbers = (*form.factors, form.start, min(form.shift, widest), *form.clamp)
    call = f"{name}({_types(form)}, &shape, {integers(*numbers)}, x0, x1, y);"
    return _walked(step, (call,), {}, "narrow_aligned_sum.h")


def rescaled_sum(step: Step[RescaledSum]) -> CStep:
    form = step.form
    rescales = (*form.to_common, form.to_output)
    if len({type(r) for r in rescales}) > 1:
        raise UnsupportedError("a sum of rescales that round differently has no kernel")
    terms = [
        tuple(end << form.left_shift for end in rescaled.centred(value.limits, zero))
        for value, zero in zip(form.inputs, form.zero_points, strict=True)
    ]
    most = [int(rescaled.reach(t) * float(r.value)) + 1 for t, r in zip(terms, form.to_common, strict=True)]
    numbers = {name: np.array([int(getattr(r, name)) for r in rescales]) for name in ("multiplier", "shift")}
    together = dataclasses.replace(form.to_output, **numbers)
    factors = rescaled.factors(together, *terms, (-sum(most), sum(most)))
    call = (
        f"narrow_rescaled_sum({_types(form)}, {factors.rounding}, &shape, &factors, zero_points, "
        f"{integers(form.left_shift, *form.signs)}, {rescaled.ends(form.clamp, form.zero_point)}, x0, x1, y);"
    )
    constants = factors.constants() | _zero_points(form)
    return _walked(step, (factors.statement(), call), constants, "narrow_rescaled_sum.h")


def product(step: Step[Product]) -> CStep:
    form = step.form
    factors = rescaled.factors(form.rescale, rescaled.product(*_centred(form)))
    call = (
        f"narrow_rescaled_product({_types(form)}, {factors.rounding}, &shape, &factors, zero_points, "
        f"{rescaled.ends(form.clamp, form.zero_point)}, x0, x1, y);"
    )
    constants = factors.constants() | _zero_points(form)
    return _walked(step, (factors.statement(), call), constants, "narrow_rescaled_product.h")


def slopes(step: Step[Prelu]) -> CStep:
    """A slope for each element."""
    form = step.form
    x, alpha = _centred(form)
    above, below = rescaled.factors(form.above, x), rescaled.factors(form.below, rescaled.product(x, alpha))
    call = (
        f"narrow_prelu({_types(form)}, {above.rounding}, {below.rounding}, &shape, &above_factors, &below_factors, "
        f"zero_points, {rescaled.ends(form.output.limits, form.zero_point)}, x0, x1, y);"
    )
    statements = (above.statement("above_"), below.statement("below_"), call)
    constants = above.constants("above_") | below.constants("below_") | _zero_points(form)
    return _walked(step, statements, constants, "narrow_prelu.h")


def _types(form: Broadcasting) -> str:
    """The types of inputs and output as arguments."""
    return ", ".join(literal(value.dtype) for value in (*form.inputs, form.output))


def _centred(form: Prelu | Product) -> list[rescaled.Range]:
    return [rescaled.centred(x.limits, zero) for x, zero in zip(form.inputs, form.zero_points, strict=True)]


def _zero_points(form: RescaledSum | Product | Prelu) -> dict[str, np.ndarray]:
    """The array `zero_points`, of the inputs and the output."""
    values = (*form.zero_points, form.zero_point)
    if min(values) < rescaled.INT32[0] or max(values) > rescaled.INT32[1]:
        raise UnsupportedError(f"zero points of {', '.join(map(str, values))} leave 32 bits")
    return {"zero_points": np.array(values, np.int32)}


def _walked(step: Step, statements, constants: dict[str, np.ndarray], header: str) -> CStep:
    """A step whose last statement walks through two inputs as `&shape` says."""
    form = step.form
    pairs = broadcast.pairs(form.inputs, form.output)
    statements, constants = (pairs.statement, *statements), constants | pairs.constants
    return CStep(step.origin, form.inputs, form.outputs, statements, constants, kernels=(header,))
