"""SUB: `y = Zy + round(Sa/Sy * (a - Za) - Sb/Sy * (b - Zb))`."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.options import SubOptions
from tflm_export.ops.base import Unsupported, register
from tflm_export.ops.context import fused_activation
from tflm_export.ops.elementwise import broadcast_mixes_rows, elementwise_problem, plain_int32, sum_of_terms


@register("SUB")
class Sub(Unsupported):
    """Elementwise subtraction; as ADD with the sign of the second term turned after its rescale."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        """Source: SubFunc in tensorflow/lite/kernels/internal/reference/sub.h."""
        activation = fused_activation(operator, SubOptions.ACTIVATION)
        y = operator.outputs[0]
        if y.type == "INT32":
            return plain_int32(activation, inputs[0] - inputs[1])
        factors = np.array([rescale.effective_scale(t.scale, 1.0, y.scale) for t in operator.inputs])
        return sum_of_terms(operator, inputs, (1, -1), factors, activation, context)

    def simulation_problem(self, operator):
        return elementwise_problem(operator)

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)
