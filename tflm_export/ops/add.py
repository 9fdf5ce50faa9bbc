"""ADD: `y = Zy + round(Sa/Sy * (a - Za) + Sb/Sy * (b - Zb))`, rounded once."""

from tflm_export.flatbuffer.options import AddOptions
from tflm_export.ops.base import register
from tflm_export.ops.context import fused_activation
from tflm_export.ops.elementwise import broadcast_mixes_rows, elementwise_problem, plain_int32, sum_of_terms
from tflm_export.ops.summed import TermsOp


@register("ADD")
class Add(TermsOp):
    """Elementwise addition, broadcasting and constants included.

    The stock kernels spend three multipliers on it, Sa and Sb over twice the larger and a common one to Sy; a kernel
    that sums exactly before its one rounding needs just the two factors.
    """

    def run(self, operator, inputs, context):
        activation = fused_activation(operator, AddOptions.ACTIVATION)
        if operator.outputs[0].type == "INT32":
            return plain_int32(activation, inputs[0] + inputs[1])
        return sum_of_terms(operator, inputs, (1, 1), self.factors(operator), activation, context)

    def simulation_problem(self, operator):
        return elementwise_problem(operator)

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)
