# SPDX-License-Identifier: Apache-2.0
"""Convolutions of every kind and dense layers, of any types."""

import dataclasses

import numpy as np

from tflm_export.c.forms.axis import axes
from tflm_export.c.forms.products import bias_array, elements, output, stored_weights, sums
from tflm_export.c.initializer import initializer
from tflm_export.c.step import CStep
from tflm_export.c.tiles import Layout
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


def with_chosen(others: CStep, form: WeightedSum, chosen: np.ndarray, layouts: tuple[Layout, Layout]) -> CStep:
    """A step behind which some of its layer's channels are computed on their own.

    Args:
      others: computes the others, and writes anything where these belong.
      form: the layer, of int8 with sums of 32 bits.
      chosen: their numbers, int.
      layouts: of the input and of the output.

    Raises:
      UnsupportedError: there is no kernel for its rescale.
    """
    (x, y), (groups, each, _, _, inputs) = layouts, form.weights.shape
    found = sums(form.rescale, np.maximum(*map(np.abs, form.bounds())), is_wide=False)
    weights, weight_zero = stored_weights(form.rows[chosen])
    from_each = chosen // each * inputs if groups > 1 else np.zeros_like(chosen)
    constants = {
        "chosen_weights": weights,
        "chosen_bias": bias_array(form.bias[chosen], is_wide=False),
        "chosen_from": (from_each * x.channel).astype(np.int32),
        "chosen_to": (chosen * y.channel).astype(np.int32),
    } | {
        name: values[chosen] if found.has_many else values
        for name, values in found.factors.constants("chosen_").items()
    }  # fmt: skip
    sizes = {"images": form.image_shape[0], "groups": 1, "inputs": inputs, "channels": 1}
    places = {"count": len(chosen), "from": "chosen_from", "to": "chosen_to"}
    places |= {"x_pixel": x.pixel, "x_image": x.image, "y_pixel": y.pixel, "y_image": y.image}
    statements = (
        f"static const narrow_sliding chosen_windows = {initializer(sizes | axes(form.windows))};",
        f"static const narrow_chosen chosen = {initializer(places)};",
        found.factors.statement("chosen_"),
        elements("chosen_input", form.inputs[0].dtype, form.input_zero_point, "x0"),
        elements("chosen_taps", weights.dtype, weight_zero, "chosen_weights"),
        output("chosen_output", form.output, form.zero_point, form.clamp),
        f"narrow_weighted_sum_of({int(inputs == 1)}, {found.factors.rounding}, {found.has_many}, &chosen_windows, "
        "&chosen, &chosen_factors, &chosen_input, &chosen_taps, chosen_bias, &chosen_output, y);",
    )
    own = f"{len(chosen)} channel{'s' * (len(chosen) > 1)} with weights beyond int8"
    return dataclasses.replace(
        others,
        statements=(*others.statements, *statements),
        constants=others.constants | constants,
        kernels=(*others.kernels, "narrow_weighted_sum.h"),
        note=f"{others.note}; {own}" if others.note else own,
    )
