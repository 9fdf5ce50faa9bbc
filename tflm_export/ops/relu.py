# SPDX-License-Identifier: Apache-2.0
"""RELU, RELU6 and RELU_N1_TO_1 as operators of their own."""

import numpy as np

from tflm_export import rescale
from tflm_export.ops.base import Declaration, register
from tflm_export.ops.unary import Unary, requantize
from tflm_export.program.requantize import Requantize
from tflm_export.program.value import value_of


@register("RELU")
class Relu(Unary):
    """Rescaled from Sx to Sy, then clamped."""

    types = ("INT8", "INT16", "UINT8")
    activation = "RELU"

    def declare(self, operator, graph):
        declaration = super().declare(operator, graph)
        x, y = operator.inputs[0], operator.outputs[0]
        if declaration.nodes and x.scale == y.scale:
            return Declaration(ties=((x.key, y.key),))
        return declaration

    def lower(self, operator, arithmetic):
        """Source: ReluQuantized in tensorflow/lite/micro/kernels/activations.cc."""
        return (requantize(operator, arithmetic, self.activation),)


@register("RELU_N1_TO_1")
class ReluN1To1(Relu):
    """TFLM has no such operator."""

    activation = "RELU_N1_TO_1"


@register("RELU6")
class Relu6(Relu):
    """TFLM clamps the input's integers and leaves them at the input's scale, whatever the output's; LiteRT rescales."""

    activation = "RELU6"

    def lower(self, operator, arithmetic):
        if not arithmetic.keeps_scale_of_relu6:
            return super().lower(operator, arithmetic)
        x, y = operator.inputs[0], value_of(operator.outputs[0])
        six = x.zero_point + int(np.floor(float(np.float32(6) / np.float32(x.scale)) + 0.5))
        low, high = (min(max(bound, y.limits[0]), y.limits[1]) for bound in (x.zero_point, six))
        return (
            Requantize(
                inputs=(value_of(x),),
                outputs=(y,),
                input_zero_point=0,
                rescale=rescale.IDENTITY,
                zero_point=0,
                clamp=(low, high),
            ),
        )
