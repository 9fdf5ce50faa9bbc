# SPDX-License-Identifier: Apache-2.0
"""Functions of one integer: as all their values, or for int16 as less, where that gives the same."""

import numpy as np

from tflm_export.c.forms import rescaled
from tflm_export.c.forms.curves import TABLE, curve_of
from tflm_export.c.forms.scaled_curves import scaled_curve
from tflm_export.c.literals import integers
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.program import Step
from tflm_export.rescale import Rescaler


def lookup(step: Step[Lookup]) -> CStep:
    form = step.form
    if form.inputs[0].dtype.itemsize == 1:
        return from_table(step, form.table)
    return _magnitude(step) or _curve(step) or from_table(step, form.table)


def _curve(step: Step[Lookup]) -> CStep | None:
    """A function that the runtimes compute from less than all its values, from as much."""
    (x,), y = step.form.inputs, step.form.output
    if y.dtype != np.int16:
        return None
    curve = curve_of(step.form.table)
    curve = curve if curve.kind != TABLE else scaled_curve(step.form.table)
    if curve is None:
        return None
    statements = (curve.statement("curve", "table"), f"narrow_curve_each({x.size}, &curve, x0, y);")
    constants = {} if curve.table is None else {"table": curve.table}
    return CStep(step.origin, (x,), (y,), statements, constants, kernels=("narrow_curve_each.h",))


def _magnitude(step: Step[Lookup]) -> CStep | None:
    """A rescale of |x - Zx|, if that is all the table is."""
    form, (x,), y = step.form, step.form.inputs, step.form.output
    if len(form.inside) != 1:
        return None
    rescaler = form.inside[0].rescale
    magnitudes = np.abs(every_integer(x.dtype) - x.zero_point)
    if not np.array_equal(np.clip(rescaler.apply(magnitudes) + y.zero_point, *y.limits), form.table):
        return None
    return requantized(step, rescaler, (x.zero_point, y.zero_point), y.limits, "narrow_requantize_magnitude")


def requantized(
    step: Step, rescaler: Rescaler, zero_points: tuple[int, int], clamp: rescaled.Range, kernel="narrow_requantize"
) -> CStep:
    """A rescale of one value of at most 32 bits.

    Raises:
      UnsupportedError: it would need more than 64 bits on the way.
    """
    (x,), y = step.form.inputs, step.form.output
    low, high = rescaled.centred(x.limits, zero_points[0])
    factors = rescaled.factors(rescaler, (low, high) if kernel == "narrow_requantize" else (0, max(-low, high)))
    call = (
        f"{kernel}({literal(x.dtype)}, {literal(y.dtype)}, {factors.rounding}, {x.size}, &factors, "
        f"{integers(*zero_points)}, {rescaled.ends(clamp, zero_points[1])}, x0, y);"
    )
    kernels = ("narrow_requantize.h",)
    return CStep(step.origin, (x,), (y,), (factors.statement(), call), factors.constants(), kernels=kernels)


def is_small(step: Step) -> bool:
    """Whether a form is a function of one integer of 8 bits."""
    x, *others = step.form.inputs
    constant = all(value.is_constant and value.size == 1 for value in others)
    return x.dtype.itemsize == 1 and constant and step.form.output.shape == x.shape


def values_of(step: Step) -> np.ndarray:
    """The outputs of a function of one integer for all there are."""
    x, *others = step.form.inputs
    domain = every_integer(x.dtype).astype(x.dtype).reshape(-1, *(1,) * len(x.shape))
    (values,) = step.form.evaluate(domain, *(value.data[None] for value in others))
    return values.reshape(-1)


def from_table(step: Step, table: np.ndarray) -> CStep:
    """All outputs of a function of one integer as a table of the output's type."""
    x, y = step.form.inputs[0], step.form.output
    call = f"narrow_table({literal(x.dtype)}, {literal(y.dtype)}, {x.size}, table, x0, y);"
    table = np.asarray(table, y.dtype)
    if table.size > 1 << 16:
        raise UnsupportedError(f"a table of {table.size} entries has no kernel")
    note = f"a table of {table.nbytes} bytes" if table.size > 1 << 8 else ""
    constants = {"table": table}
    return CStep(step.origin, (x,), (y,), (call,), constants, kernels=("narrow_table.h",), note=note)
