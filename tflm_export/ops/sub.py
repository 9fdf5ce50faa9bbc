"""SUB: `y = Zy + round(Sa/Sy * (a - Za) - Sb/Sy * (b - Zb))`."""

from tflm_export.flatbuffer.options import SubOptions
from tflm_export.ops.base import register
from tflm_export.ops.context import fused_activation
from tflm_export.ops.elementwise import broadcast_mixes_rows, elementwise_problem, plain_int32, sum_of_terms
from tflm_export.ops.summed import TermsOp


@register("SUB")
class Sub(TermsOp):
    """Elementwise subtraction; as ADD with the sign of the second term turned after its rescale."""

    options = SubOptions

    def run(self, operator, inputs, context):
        """Source: SubFunc in tensorflow/lite/kernels/internal/reference/sub.h."""
        activation = fused_activation(operator, SubOptions.ACTIVATION)
        if operator.outputs[0].type == "INT32":
            return plain_int32(activation, inputs[0] - inputs[1])
        return sum_of_terms(operator, inputs, (1, -1), self.factors(operator), activation, context)

    def simulation_problem(self, operator):
        return elementwise_problem(operator)

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)
