"""CONCATENATION: integers side by side."""

import numpy as np

from tflm_export.flatbuffer.options import ConcatenationOptions
from tflm_export.ops.base import register
from tflm_export.ops.context import INTEGER_TYPES, fused_activation
from tflm_export.ops.data_movement import SameScale


@register("CONCATENATION")
class Concatenation(SameScale):
    """Integers are copied as they are; the kernels for int8 and int16 refuse unequal scales."""

    def run(self, operator, inputs, context):
        if context.rows:
            inputs = [np.broadcast_to(x, (context.rows, *x.shape[1:])) for x in inputs]
        return [np.concatenate(inputs, operator.option(ConcatenationOptions.AXIS))]

    def simulation_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = sorted({t.type for t in tensors if t is not None})
        if None in tensors or len(types) != 1 or types[0] not in INTEGER_TYPES:
            return f"{' and '.join(types)} operands are not simulated"
        if len({(t.scale, t.zero_point) for t in tensors if t.is_quantized}) > 1:
            return self.unequal_reason
        rank = len(operator.outputs[0].shape)
        if not -rank <= operator.option(ConcatenationOptions.AXIS) < rank:
            return f"axis {operator.option(ConcatenationOptions.AXIS)} is outside its {rank} dimensions"
        activation = fused_activation(operator, ConcatenationOptions.ACTIVATION)
        return "" if activation == "NONE" else f"a fused activation {activation} is not simulated"

    def mixes_rows(self, operator):
        return operator.option(ConcatenationOptions.AXIS) % len(operator.outputs[0].shape) == 0
