"""SOFTMAX over the last dimension, in fixed point."""

import numpy as np

from tflm_export import rescale
from tflm_export.fixed_point import exp_on_negative_values, one_over_one_plus
from tflm_export.flatbuffer.options import SoftmaxOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.base import register
from tflm_export.ops.context import Rounding, saturate
from tflm_export.ops.fixed import FixedFunction

_DIFFERENCE_BITS = 5  # integer bits of the scaled difference to the largest input
_SUM_BITS = 12  # integer bits of the sum of exponentials


@register("SOFTMAX")
class Softmax(FixedFunction):
    """exp of differences to the row's largest integer, as a share of their sum."""

    def run(self, operator, inputs, context):
        """Source: Softmax and SoftmaxInt16 in tensorflow/lite/kernels/internal/reference/softmax.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        beta = operator.option(SoftmaxOptions.BETA, FLOAT32)
        if x.type == "INT16":
            litert = context.rounding is Rounding.TFLITE
            scale = float(np.float32(x.scale) * np.float32(beta)) if litert else x.scale * beta
            return [saturate(y, _of_int16(inputs[0].astype(np.int64), scale, np.float64 if litert else np.float32), 0)]
        scaled = min(float(np.float32(beta)) * x.scale * (1 << (31 - _DIFFERENCE_BITS)), (1 << 31) - 1.0)
        stock = rescale.quantize_multiplier(scaled)
        left_shift = 31 - int(stock.shift)
        least = -(((1 << _DIFFERENCE_BITS) - 1) * (1 << (31 - _DIFFERENCE_BITS)) >> left_shift)
        integers = inputs[0].astype(np.int64)
        difference = integers - integers.max(-1, keepdims=True)
        counted = difference >= least
        in_range = np.where(counted, difference, 0)
        exponential = exp_on_negative_values(
            rescale.multiply_by_quantized_multiplier_double(in_range, stock), _DIFFERENCE_BITS
        )
        total = np.where(counted, rescale.rounding_divide_by_pot(exponential, _SUM_BITS), 0).sum(-1, keepdims=True)
        bits = np.frexp(total.astype(np.float64))[1]  # of the sum, exact: it is below 2**31
        headroom = 32 - bits
        inverse = one_over_one_plus((total << headroom) - (1 << 31))
        output_bits = 8 * np.dtype(saturate(y, 0).dtype).itemsize
        exponent = _SUM_BITS - headroom + 31 - output_bits
        share = rescale.rounding_divide_by_pot(rescale.doubling_high_multiply(inverse, exponential), exponent)
        low = np.iinfo(saturate(y, 0).dtype).min
        return [saturate(y, np.where(counted, share + low, low))]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        types = (x.type, y.type)
        known = (("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("INT16", "INT16"))
        if types not in known or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return ""

    def mixes_rows(self, operator):
        return len(operator.inputs[0].shape) < 2


def _of_int16(x: np.ndarray, scale: float, real: type) -> np.ndarray:
    """Softmax of int16 inputs through tables of exp and of 1 / (1 + x), in units of 2**-15.

    Args:
      x: int64 integers.
      scale: of the input, times beta.
      real: the type in which a runtime fills its tables: LiteRT float64, TFLM float32.
    """
    stock = rescale.quantize_multiplier(scale / (10.0 / 65535.0))
    difference = rescale.multiply_by_quantized_multiplier_double(x - x.max(-1, keepdims=True), stock)
    exponential = _looked_up(_table(np.exp, -10.0, 0.0, real), np.clip(difference + 32767, -32768, 32767))
    total = exponential.sum(-1, keepdims=True)
    headroom = 32 - np.frexp(total.astype(np.float64))[1]
    mantissa = ((total << (headroom - 1)) + (1 << 13)) >> 14
    reciprocals = _table(lambda v: 1 / (1 + v), 0.0, 1.0, real)
    inverse = _looked_up(reciprocals, np.clip(mantissa - (1 << 15) - (1 << 16), -32768, 32767))
    shift = 31 - headroom
    return np.clip((exponential * inverse + (np.int64(1) << (shift - 1))) >> shift, 0, 32767)


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


def _looked_up(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Linear interpolation in a table over all of int16."""
    index = 256 + (x >> 7)
    return table[index] + (((table[index + 1] - table[index]) * (x & 127) + 64) >> 7)
