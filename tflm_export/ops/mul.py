# SPDX-License-Identifier: Apache-2.0
"""MUL: `y = Zy + Sa*Sb/Sy * (a - Za) * (b - Zb)`."""

from tflm_export.flatbuffer.options import MulOptions
from tflm_export.ops.activations import clamp_of, fused_activation
from tflm_export.ops.base import one, register
from tflm_export.ops.elementwise import elementwise_problem, plain_int32
from tflm_export.ops.product import ProductOp
from tflm_export.program.product import Product


@register("MUL")
class Mul(ProductOp):
    """Elementwise multiplication."""

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/integer_ops/mul.h."""
        (a, b), y = operator.inputs, operator.outputs[0]
        activation = fused_activation(operator, MulOptions.ACTIVATION)
        if y.type == "INT32":
            return (plain_int32("multiply", operator, activation),)
        return one(
            Product,
            operator,
            (a, b),
            zero_points=(a.zero_point, b.zero_point),
            rescale=arithmetic.rescale(arithmetic.product(a.scale, b.scale, y.scale)),
            zero_point=y.zero_point,
            clamp=clamp_of(y, activation),
        )

    def lowering_problem(self, operator):
        return elementwise_problem(operator, fused_activation(operator, MulOptions.ACTIVATION))
