# SPDX-License-Identifier: Apache-2.0
"""LOG_SOFTMAX over the last dimension, in fixed point."""

import numpy as np

from tflm_export.fixed_point import exp_on_negative_values
from tflm_export.ops.base import one, register
from tflm_export.ops.fixed import FixedFunction
from tflm_export.ops.softmax import DIFFERENCE_BITS, difference_rescale
from tflm_export.program.softmax import SUM_BITS
from tflm_export.program.softmax import LogSoftmax as LogSoftmaxForm
from tflm_export.rescale import rounding_divide_by_pot

_OUTPUT_BITS = 4  # integer bits of the output


@register("LOG_SOFTMAX")
class LogSoftmax(FixedFunction):
    """Differences to the row's largest integer, less the logarithm of the sum of their exponentials."""

    def lower(self, operator, arithmetic):
        """Source: LogSoftmaxQuantized in tensorflow/lite/kernels/internal/reference/log_softmax.h."""
        x = operator.inputs[0]
        stock, least = difference_rescale(x.scale, arithmetic)
        left_shift = 31 - int(stock.shift)
        differences = -np.arange(min(least, 255) + 1)
        exponentials = exp_on_negative_values(stock.apply(differences), DIFFERENCE_BITS)
        return one(
            LogSoftmaxForm,
            operator,
            (x,),
            exponentials=rounding_divide_by_pot(exponentials, SUM_BITS),
            rescale=stock,
            back=arithmetic.stock(2.0 ** (31 - left_shift) / float(stock.multiplier)),
            unit=31 - DIFFERENCE_BITS,
            shift=31 - DIFFERENCE_BITS - _OUTPUT_BITS,
        )

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if (x.type, y.type) != ("INT8", "INT8") or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return "" if x.shape and 0 < x.shape[-1] <= 1 << SUM_BITS else f"rows of {list(x.shape)[-1:]} are not simulated"
