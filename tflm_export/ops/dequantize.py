# SPDX-License-Identifier: Apache-2.0
"""DEQUANTIZE: `Sx * (x - Zx)` in float32."""

from tflm_export.ops.base import one, register
from tflm_export.ops.fixed import FixedFunction
from tflm_export.program.convert import Dequantize as DequantizeForm
from tflm_export.program.value import INTEGER_TYPES


@register("DEQUANTIZE")
class Dequantize(FixedFunction):
    """The border to float."""

    def lower(self, operator, arithmetic):
        x = operator.inputs[0]
        return one(DequantizeForm, operator, (x,), scale=x.scale, zero_point=x.zero_point)

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in INTEGER_TYPES or y.type != "FLOAT32" or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return "" if x.quantization.scale.values.size == 1 else "per-channel scales are not simulated"
