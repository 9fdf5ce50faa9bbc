"""SUM: `y = Zy + Sx/Sy * sum(x - Zx)`."""

import numpy as np

from tflm_export import rescale
from tflm_export.ops.base import activation_problem, register
from tflm_export.ops.context import Rounding, centred, emit
from tflm_export.ops.reduction import keeps_dimensions, reduced_axes, reduced_count, reduces_rows, reduction_problem
from tflm_export.ops.summed import SummedOp


@register("SUM")
class Sum(SummedOp):
    """Sum over axes.

    LiteRT's reference kernel (2.3) takes the bytes of int8 tensors, in and out, for uint8; its default kernels and TFLM
    do not. What it makes of int16 tensors, whose halves it never reads, is not simulated: "tflite" then stands for the
    default kernels.
    """

    run_inputs = 2

    def count(self, operator):
        return reduced_count(operator)

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0])

    def run(self, operator, inputs, context):
        """Source: QuantizedMeanOrSum in tensorflow/lite/kernels/reduce.cc and internal/reference/reduce.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        as_bytes = context.rounding is Rounding.TFLITE and x.type == "INT8"
        values = inputs[0].view(np.uint8) if as_bytes else inputs[0]
        axes = reduced_axes(x, inputs[1])
        total = centred(x, values).sum(axes, keepdims=keeps_dimensions(operator))
        factor = rescale.effective_scale(x.scale, 1.0, y.scale)
        integers = context.requantize(total, factor)
        if as_bytes:
            return [np.clip(integers + y.zero_point, 0, 255).astype(np.uint8).view(np.int8)]
        return [emit(y, integers)]

    def simulation_problem(self, operator):
        return reduction_problem(operator)

    def mixes_rows(self, operator):
        return reduces_rows(operator)
