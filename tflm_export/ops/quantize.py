"""QUANTIZE from integers to integers: `y = Zy + Sx/Sy * (x - Zx)`. From float it is no rescale."""

import numpy as np

from tflm_export import rescale
from tflm_export.ops.base import register, scale_problem
from tflm_export.ops.context import INTEGER_TYPES, centred, emit
from tflm_export.ops.summed import SummedOp


@register("QUANTIZE")
class Quantize(SummedOp):
    """Change of scale, zero point or integer type."""

    def problem(self, operator):
        return scale_problem(*operator.inputs, *operator.outputs)

    def run(self, operator, inputs, context):
        """Source: AffineQuantize and Requantize in tensorflow/lite/kernels/internal/reference."""
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type == "FLOAT32":
            quotient = inputs[0] / np.float32(y.scale)
            return [emit(y, np.copysign(np.floor(np.abs(quotient.astype(np.float64)) + 0.5), quotient))]
        factor = rescale.effective_scale(x.scale, 1.0, y.scale)
        return [emit(y, context.requantize(centred(x, inputs[0]), factor))]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in (*INTEGER_TYPES, "FLOAT32") or y.type not in INTEGER_TYPES:
            return f"{x.type} to {y.type} is not simulated"
        if any(t.quantization is None or t.quantization.scale.values.size != 1 for t in (x, y) if t.type != "FLOAT32"):
            return "its input and output need one scale each"
        return ""
