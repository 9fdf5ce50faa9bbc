"""MUL: `y = Zy + Sa*Sb/Sy * (a - Za) * (b - Zb)`."""

from tflm_export import rescale
from tflm_export.flatbuffer.options import MulOptions
from tflm_export.ops.base import Unsupported, register
from tflm_export.ops.context import centred, emit, fused_activation
from tflm_export.ops.elementwise import broadcast_mixes_rows, elementwise_problem, plain_int32


@register("MUL")
class Mul(Unsupported):
    """Elementwise multiplication."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/integer_ops/mul.h."""
        activation = fused_activation(operator, MulOptions.ACTIVATION)
        y = operator.outputs[0]
        if y.type == "INT32":
            return plain_int32(activation, inputs[0] * inputs[1])
        a, b = operator.inputs
        factor = rescale.effective_scale(a.scale, b.scale, y.scale)
        product = centred(a, inputs[0]) * centred(b, inputs[1])
        return [emit(y, context.requantize(product, factor), activation)]

    def simulation_problem(self, operator):
        return elementwise_problem(operator)

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)
