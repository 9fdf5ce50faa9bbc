# SPDX-License-Identifier: Apache-2.0
"""Images at another size, through kernels/narrow_resize.h."""

import numpy as np

from tflm_export.c.forms.statements import INT32_REACH, INT64_REACH, structure
from tflm_export.c.step import CStep, UnsupportedError
from tflm_export.c.types import literal
from tflm_export.program.form import reach
from tflm_export.program.program import Step
from tflm_export.program.resize import Neighbours, Resize


def resize(step: Step[Resize]) -> CStep:
    """Means of four neighbours, in integers or in float32 as the form has them.

    Raises:
      UnsupportedError: the sums of neighbours and weights leave 64 bits.
    """
    form, (x,) = step.form, step.form.inputs
    images, height, width, channels = x.shape
    sizes = f"{images}, {channels}, &rows, &columns, downs, rights"
    if form.unit == 1:
        call, weights = f"narrow_resize_float32({literal(x.dtype)}, {sizes}, x0, y);", np.float32
    else:
        largest = reach(x, 0) * _growth(form.rows, form.unit) * _growth(form.columns, form.unit) + form.unit**2
        if largest >= INT64_REACH:
            raise UnsupportedError("its sums leave 64 bits")
        kinds = f"{literal(x.dtype)}, {int(largest >= INT32_REACH)}"
        call, weights = f"narrow_resize({kinds}, {sizes}, {form.unit}, x0, y);", np.int32
    statements, constants = [], {}
    for name, weight, before, side in (
        ("rows", "downs", height, form.rows),
        ("columns", "rights", width, form.columns),
    ):
        members = {"before": before, "after": len(side.low), "low": f"{name}_low", "high": f"{name}_high"}
        statements.append(structure("narrow_side", name, members))
        constants |= {f"{name}_low": side.low.astype(np.int32), f"{name}_high": side.high.astype(np.int32)}
        constants[weight] = side.weight.astype(weights)
    return CStep(
        step.origin, form.inputs, form.outputs, (*statements, call), constants, kernels=("narrow_resize.h",)
    )  # fmt: skip


def _growth(side: Neighbours, unit: int) -> int:
    """The largest sum of two weights' magnitudes."""
    return int((np.abs(side.weight) + np.abs(unit - side.weight)).max(initial=0))
