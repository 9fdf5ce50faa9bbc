"""MUL: `y = Zy + Sa*Sb/Sy * (a - Za) * (b - Zb)`."""

from tflm_export.flatbuffer.options import MulOptions
from tflm_export.ops.base import register
from tflm_export.ops.context import centred, emit, fused_activation
from tflm_export.ops.elementwise import broadcast_mixes_rows, elementwise_problem, plain_int32
from tflm_export.ops.product import ProductOp, real_product


@register("MUL")
class Mul(ProductOp):
    """Elementwise multiplication."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/integer_ops/mul.h."""
        activation = fused_activation(operator, MulOptions.ACTIVATION)
        y = operator.outputs[0]
        if y.type == "INT32":
            return plain_int32(activation, inputs[0] * inputs[1])
        a, b = operator.inputs
        factor = real_product(context.rounding, a, b, y)
        product = centred(a, inputs[0]) * centred(b, inputs[1])
        return [emit(y, context.requantize(product, factor), activation)]

    def simulation_problem(self, operator):
        return elementwise_problem(operator)

    def mixes_rows(self, operator):
        return broadcast_mixes_rows(operator)
