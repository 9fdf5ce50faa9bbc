# SPDX-License-Identifier: Apache-2.0
"""LOGISTIC and TANH, in fixed point."""

import numpy as np

from tflm_export import fixed_point, rescale
from tflm_export.flatbuffer.model import Operator
from tflm_export.ops.base import register
from tflm_export.ops.fixed import FixedFunction
from tflm_export.program.form import centred
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.value import value_of

_INPUT_BITS = 4  # integer bits of the scaled input
# Bit i: whether entry i of the runtimes' table of the logistic function is one above the rounded function.
_ONE_LARGER = 0x800000000000000000000000000000800011009020440005C0467BAEFA7BD110


class _Sigmoid(FixedFunction):
    """Functions that saturate: inputs beyond a radius give the smallest and largest output.

    Attributes:
      fraction_bits: of the output.
      zero_point: of the output.
    """

    fraction_bits = 0
    zero_point = 0

    def function(self, scaled: np.ndarray) -> np.ndarray:
        """The function, Q4 to Q0."""
        raise NotImplementedError

    def lower(self, operator, arithmetic):
        x, y = operator.inputs[0], operator.outputs[0]
        value, target = value_of(x), value_of(y)
        integers = every_integer(value.dtype)
        if x.type == "INT16":
            table = self.interpolated(operator, integers)
        else:
            table = self._every_value(centred(integers, x.zero_point), x.scale, target.limits, arithmetic)
        table = np.clip(table, *target.limits).astype(target.dtype)
        return (Lookup(inputs=(value,), outputs=(target,), table=table),)

    def _every_value(self, x: np.ndarray, scale: float, limits: tuple[int, int], arithmetic) -> np.ndarray:
        """The function of centred integers of 8 bits."""
        stock = arithmetic.stock(scale * (1 << (31 - _INPUT_BITS)))
        left_shift = 31 - int(stock.shift)
        radius = int(np.floor(((1 << _INPUT_BITS) - 1) * 2.0 ** (31 - _INPUT_BITS - left_shift)))
        scaled = stock.apply(np.clip(x, -radius + 1, radius - 1))
        low, high = limits
        zero = self.zero_point - (-128 - low)
        table = rescale.rounding_divide_by_pot(self.function(scaled), 31 - self.fraction_bits) + zero
        return np.where(x <= -radius, low, np.where(x >= radius, high, table))

    def interpolated(self, operator: Operator, x: np.ndarray) -> np.ndarray:
        """The function of int16 inputs."""
        raise NotImplementedError

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in ("INT8", "INT16") or y.type != x.type or x.quantization is None:
            return f"{x.type} to {y.type} is not simulated"
        return ""


def logistic_table() -> np.ndarray:
    """65536 / (1 + exp(-i / 24)) for i of 0 to 255 as the runtimes hold it; int64 [256].

    Source: sigmoid_table_uint16 in tensorflow/lite/kernels/internal/common.h. It is not the function rounded: about
    one entry in four is one larger.
    """
    rounded = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24)) + 0.5).astype(np.int64)
    return rounded + np.array([_ONE_LARGER >> i & 1 for i in range(256)])


def _table_input(scale: float, pot_shifts: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    """int16 inputs in units of 1 / (3 * 4096).

    Source: the Prepare functions of LOGISTIC and TANH in tensorflow/lite/micro/kernels.
    """
    log2 = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    rounded = np.rint(log2)
    shift = 12 + int(rounded)
    if abs(log2 - rounded) < 1e-3 and shift in pot_shifts:
        multiplier, shift = 3 << shift, 0
    else:
        multiplier, shift = scale * 4096.0 * 3.0, 0
        while multiplier <= 32767.0 / 2.0 and shift <= 30:
            multiplier, shift = multiplier * 2.0, shift + 1
        multiplier = int(multiplier)
    return (x * multiplier + ((1 << shift) >> 1)) >> shift


def _between(magnitude: np.ndarray, bits: int, end: int) -> np.ndarray:
    """Linear interpolation in the table, with `bits` bits between its entries; `end` beyond it."""
    index = np.minimum(magnitude >> bits, 254)
    table = logistic_table()
    low, high = table[index], table[index + 1]
    inside = (low << bits) + (magnitude & ((1 << bits) - 1)) * (high - low)
    return np.where(magnitude >> bits >= 255, end, inside)


def logistic_from_table(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in units of 2**-15 for int64 x in units of 1 / (3 * 4096)."""
    result = _between(np.abs(x), 9, 0x7FFF << 10)
    return np.where(x >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh_from_table(x: np.ndarray) -> np.ndarray:
    """tanh(x) in units of 2**-15 for int64 x in units of 1 / (3 * 4096)."""
    result = _between(np.abs(x), 8, 0xFFFF << 8)
    centre, half = 1 << 23, 1 << 7
    return np.where(x >= 0, result - centre + half, centre - result + half - 1) >> 8


@register("LOGISTIC")
class Logistic(_Sigmoid):
    """1 / (1 + exp(-x)) at the scale 1/256 and zero point -128."""

    fraction_bits = 8
    zero_point = -128

    def function(self, scaled):
        """Source: Logistic in tensorflow/lite/kernels/internal/reference/integer_ops/logistic.h."""
        return fixed_point.logistic(scaled, _INPUT_BITS)

    def interpolated(self, operator, x):
        return logistic_from_table(_table_input(operator.inputs[0].scale, (0,), x))


@register("TANH")
class Tanh(_Sigmoid):
    """tanh(x) at the scale 1/128 and zero point 0."""

    fraction_bits = 7

    def function(self, scaled):
        """Source: Tanh in tensorflow/lite/kernels/internal/reference/integer_ops/tanh.h."""
        return fixed_point.tanh(scaled, _INPUT_BITS)

    def interpolated(self, operator, x):
        return tanh_from_table(_table_input(operator.inputs[0].scale, (0, 1), x))
