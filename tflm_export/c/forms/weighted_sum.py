# SPDX-License-Identifier: Apache-2.0
"""Convolutions of every kind and dense layers, of any types."""

import numpy as np

from tflm_export.c.forms.axis import axes
from tflm_export.c.forms.products import bias_array, elements, output, stored_weights, sums
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep
from tflm_export.c.types import literal
from tflm_export.program.program import Step
from tflm_export.program.weighted_sum import WeightedSum


def weighted_sum(step: Step[WeightedSum]) -> CStep:
    """A sum with constant weights through kernels/narrow_weighted_sum.h.

    Raises:
      UnsupportedError: its numbers could leave 64 bits, or there is no kernel for its rescale.
    """
    form = step.form
    (x,), y = form.inputs, form.output
    found = sums(form.rescale, np.maximum(*map(np.abs, form.bounds())), form.is_wide)
    weights, weight_zero = stored_weights(form.weights)
    bias = bias_array(form.bias, found.is_wide)
    groups, channels, _, _, inputs = form.weights.shape
    sizes = {"images": form.image_shape[0], "groups": groups, "inputs": inputs, "channels": channels}
    how = f"{found.type}, {int(inputs == 1)}, {found.factors.rounding}, {found.has_many}, {literal(bias.dtype)}"
    statements = (
        f"static const narrow_sliding windows = {initializer(sizes | axes(form.windows))};",
        found.factors.statement(),
        elements("input", x.dtype, form.input_zero_point, "x0"),
        elements("taps", weights.dtype, weight_zero, "weights"),
        output("output", y, form.zero_point, form.clamp),
        f"narrow_weighted_sum({how}, &windows, &factors, &input, &taps, bias, &output, y);",
    )
    constants = {"weights": weights, "bias": bias} | found.factors.constants()
    return CStep(
        step.origin, form.inputs, form.outputs, statements, constants, kernels=("narrow_weighted_sum.h",),
        note=f"any types, sums of {64 if found.is_wide else 32} bits",
    )  # fmt: skip
