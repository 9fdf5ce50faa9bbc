"""RELU, RELU6, RELU_N1_TO_1 and LEAKY_RELU, PRELU as operators of their own."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.options import LeakyReluOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.base import Unsupported, register
from tflm_export.ops.context import Context, Rounding, centred, emit, saturate


def _real(context: Context) -> type:
    """The type in which a runtime divides the scales of these operators: LiteRT float32, TFLM's wheel float64."""
    return np.float32 if context.rounding is Rounding.TFLITE else np.float64


def _identity(x: Tensor, y: Tensor, context: Context) -> float:
    """Sx / Sy."""
    real = _real(context)
    return float(real(x.scale) / real(y.scale))


class _Relu(Unsupported):
    types = ("INT8", "INT16")

    def simulation_problem(self, operator):
        tensors = (*operator.inputs, *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= set(self.types) or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return ""


@register("RELU")
class Relu(_Relu):
    """Rescaled from Sx to Sy, then clamped."""

    types = ("INT8", "INT16", "UINT8")
    activation = "RELU"

    def run(self, operator, inputs, context):
        """Source: ReluQuantized in tensorflow/lite/micro/kernels/activations.cc."""
        x, y = operator.inputs[0], operator.outputs[0]
        return [emit(y, context.requantize(centred(x, inputs[0]), _identity(x, y, context)), self.activation)]


@register("RELU_N1_TO_1")
class ReluN1To1(Relu):
    """TFLM has no such operator."""

    activation = "RELU_N1_TO_1"


@register("RELU6")
class Relu6(Relu):
    """TFLM clamps the input's integers and leaves them at the input's scale, whatever the output's; LiteRT rescales."""

    activation = "RELU6"

    def run(self, operator, inputs, context):
        if context.rounding is not Rounding.TFLM:
            return super().run(operator, inputs, context)
        x, y = operator.inputs[0], operator.outputs[0]
        six = x.zero_point + int(np.floor(float(np.float32(6) / np.float32(x.scale)) + 0.5))
        return [saturate(y, inputs[0].astype(np.int64), x.zero_point, six)]


@register("LEAKY_RELU")
class LeakyRelu(_Relu):
    """Sx/Sy above the zero point, alpha*Sx/Sy below."""

    def run(self, operator, inputs, context):
        """Source: QuantizeLeakyRelu in tensorflow/lite/kernels/internal/reference/leaky_relu.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        real = _real(context)
        slope = float(real(x.scale) * real(operator.option(LeakyReluOptions.ALPHA, FLOAT32, 0.0)) / real(y.scale))
        values = centred(x, inputs[0])
        below = context.requantize(values, abs(slope))
        below = -below if slope < 0 else below
        return [emit(y, np.where(values >= 0, context.requantize(values, _identity(x, y, context)), below))]


@register("PRELU")
class Prelu(_Relu):
    """Sx/Sy above the zero point, Sx*Salpha/Sy below, times the alpha of the element."""

    run_inputs = 2
    types = ("INT8", "UINT8")

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/prelu.h."""
        (x, alpha), y = operator.inputs, operator.outputs[0]
        values = centred(x, inputs[0])
        above = context.requantize(values, rescale.effective_scale(x.scale, 1.0, y.scale))
        product = values * centred(alpha, inputs[1])
        below = context.requantize(product, rescale.effective_scale(x.scale, alpha.scale, y.scale))
        return [emit(y, np.where(values >= 0, above, below))]

    def mixes_rows(self, operator):
        return not operator.inputs[1].is_constant
