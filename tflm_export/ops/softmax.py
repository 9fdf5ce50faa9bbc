# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX over the last dimension, in fixed point."""

import numpy as np

from tflm_export.arithmetic import Arithmetic
from tflm_export.fixed_point import exp_on_negative_values
from tflm_export.flatbuffer.options import SoftmaxOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.base import register
from tflm_export.ops.fixed import FixedFunction
from tflm_export.program.softmax import Softmax as SoftmaxForm
from tflm_export.program.softmax import SoftmaxInt16
from tflm_export.program.value import value_of
from tflm_export.rescale import StockRescale

DIFFERENCE_BITS = 5  # integer bits of the scaled difference to the largest input


@register("SOFTMAX")
class Softmax(FixedFunction):
    """exp of differences to the row's largest integer, as a share of their sum."""

    def lower(self, operator, arithmetic):
        """Source: Softmax and SoftmaxInt16 in tensorflow/lite/kernels/internal/reference/softmax.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        inputs, outputs = (value_of(x),), (value_of(y),)
        beta = operator.option(SoftmaxOptions.BETA, FLOAT32)
        if not x.shape:
            raise ValueError("its input has no dimensions")
        if x.type != "INT16":
            stock, least = difference_rescale(float(np.float32(beta)) * x.scale, arithmetic)
            differences = -np.arange(min(least, 255) + 1)
            exponentials = exp_on_negative_values(stock.apply(differences), DIFFERENCE_BITS).astype(np.int32)
            return (SoftmaxForm(inputs=inputs, outputs=outputs, exponentials=exponentials),)
        real = arithmetic.table_type
        scale = float(arithmetic.scale_type(x.scale) * arithmetic.scale_type(beta))
        return (
            SoftmaxInt16(
                inputs=inputs,
                outputs=outputs,
                rescale=arithmetic.stock(scale / (10.0 / 65535.0)),
                exponential=_table(np.exp, -10.0, 0.0, real),
                reciprocal=_table(lambda v: 1 / (1 + v), 0.0, 1.0, real),
            ),
        )

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        types = (x.type, y.type)
        known = (("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("INT16", "INT16"))
        if types not in known or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return ""


def difference_rescale(scale: float, arithmetic: Arithmetic) -> tuple[StockRescale, int]:
    """The rescale of differences to the largest integer of a row, and the largest difference that counts."""
    unit = 31 - DIFFERENCE_BITS
    stock = arithmetic.stock(min(scale * (1 << unit), (1 << 31) - 1.0))
    return stock, ((1 << DIFFERENCE_BITS) - 1) * (1 << unit) >> (31 - int(stock.shift))


def _table(function, low: float, high: float, real: type) -> np.ndarray:
    """A function on [low, high] at 513 points in units of 2**-15, each moved by half the error at its step's middle.

    Source: LUTPopulateInt16 in tensorflow/lite/kernels/internal/common.h.
    """
    step = (real(high) - real(low)) / real(512)
    points = real(low) + np.arange(513, dtype=real) * step
    unit = real(65536) / (real(2) / real(65535) * real(65535))

    def nearest(values):
        return np.copysign(np.floor(np.abs(values) + real(0.5)), values)

    values, middles = (function(v.astype(real)).astype(real) * unit for v in (points, points[:-1] + step / real(2)))
    samples = nearest(values)
    interpolated = nearest((values[1:] + samples[:-1]) / real(2))
    bias = nearest((interpolated - nearest(middles)) / real(2))
    samples[:-1] -= bias
    return np.clip(samples, -32768, 32767).astype(np.int64)
