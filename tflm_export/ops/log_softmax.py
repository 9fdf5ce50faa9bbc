"""LOG_SOFTMAX over the last dimension, in fixed point."""

import numpy as np

from tflm_export import rescale
from tflm_export.fixed_point import exp_on_negative_values, log
from tflm_export.ops.base import register
from tflm_export.ops.context import saturate
from tflm_export.ops.fixed import FixedFunction

_DIFFERENCE_BITS = 5  # integer bits of the scaled difference to the largest input
_SUM_BITS = 12  # integer bits of the sum of exponentials
_OUTPUT_BITS = 4  # integer bits of the output


@register("LOG_SOFTMAX")
class LogSoftmax(FixedFunction):
    """Differences to the row's largest integer, less the logarithm of the sum of their exponentials."""

    def run(self, operator, inputs, context):
        """Source: LogSoftmaxQuantized in tensorflow/lite/kernels/internal/reference/log_softmax.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        unit = 31 - _DIFFERENCE_BITS
        stock = rescale.quantize_multiplier(min(x.scale * (1 << unit), (1 << 31) - 1.0))
        left_shift = 31 - int(stock.shift)
        least = -(((1 << _DIFFERENCE_BITS) - 1) * (1 << unit) >> left_shift)
        integers = inputs[0].astype(np.int64)
        difference = integers - integers.max(-1, keepdims=True)
        counted = difference >= least
        scaled = rescale.multiply_by_quantized_multiplier_double(np.where(counted, difference, 0), stock)
        exponential = rescale.rounding_divide_by_pot(exp_on_negative_values(scaled, _DIFFERENCE_BITS), _SUM_BITS)
        logarithm = log(np.where(counted, exponential, 0).sum(-1, keepdims=True), _SUM_BITS, _DIFFERENCE_BITS)
        back = rescale.quantize_multiplier(2.0 ** (31 - left_shift) / float(stock.multiplier))
        lowest = rescale.multiply_by_quantized_multiplier_double(logarithm - (1 << 31), back)
        seen = difference > np.maximum(least - 1, lowest)
        scaled = rescale.multiply_by_quantized_multiplier_double(np.where(seen, difference, 0), stock)
        result = rescale.rounding_divide_by_pot(scaled - logarithm, unit - _OUTPUT_BITS) + 127
        return [saturate(y, np.where(seen, result, -128))]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if (x.type, y.type) != ("INT8", "INT8") or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return (
            "" if x.shape and 0 < x.shape[-1] <= 1 << _SUM_BITS else f"rows of {list(x.shape)[-1:]} are not simulated"
        )

    def mixes_rows(self, operator):
        return len(operator.inputs[0].shape) < 2
