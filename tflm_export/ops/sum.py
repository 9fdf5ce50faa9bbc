# SPDX-License-Identifier: Apache-2.0
"""SUM: `y = Zy + Sx/Sy * sum(x - Zx)`."""

import dataclasses

import numpy as np

from tflm_export import rescale
from tflm_export.ops.activations import target_of
from tflm_export.ops.base import activation_problem, register
from tflm_export.ops.reduction import reduced_axes, reduction_problem
from tflm_export.ops.summed import SummedOp
from tflm_export.program.convert import Cast
from tflm_export.program.value import value_of


@register("SUM")
class Sum(SummedOp):
    """Sum over axes.

    LiteRT's reference kernel (2.3) takes the bytes of int8 tensors, in and out, for uint8; its default kernels and TFLM
    do not. What it makes of int16 tensors, whose halves it never reads, is not simulated: "tflite" then stands for the
    default kernels.
    """

    run_inputs = 2

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0])

    def lower(self, operator, arithmetic):
        """Source: QuantizedMeanOrSum in tensorflow/lite/kernels/reduce.cc and internal/reference/reduce.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        axes, factor = reduced_axes(operator), rescale.effective_scale(x.scale, 1.0, y.scale)
        value, target = value_of(x), target_of(y)
        if not arithmetic.sums_bytes or x.type != "INT8":
            return (arithmetic.total(value, axes, x.zero_point, factor, target),)
        before, after = value.part("bytes", np.uint8), target.value.part("bytes", np.uint8)
        summed = arithmetic.total(before, axes, x.zero_point, factor, dataclasses.replace(target, value=after))
        return (
            Cast(inputs=(value,), outputs=(before,)),
            summed,
            Cast(inputs=(after,), outputs=(target.value,)),
        )

    def lowering_problem(self, operator):
        return reduction_problem(operator)
