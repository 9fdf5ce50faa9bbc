"""DEQUANTIZE: `Sx * (x - Zx)` in float32."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.context import INTEGER_TYPES, centred
from tflm_export.ops.fixed import FixedFunction


@register("DEQUANTIZE")
class Dequantize(FixedFunction):
    """The border to float."""

    def run(self, operator, inputs, context):
        """Source: Dequantize in tensorflow/lite/kernels/internal/reference/dequantize.h: a float64 product."""
        x = operator.inputs[0]
        return [(np.float64(x.scale) * centred(x, inputs[0])).astype(np.float32)]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in INTEGER_TYPES or y.type != "FLOAT32" or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return "" if x.quantization.scale.values.size == 1 else "per-channel scales are not simulated"
