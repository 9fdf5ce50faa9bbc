# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last dimension, in fixed point."""

import dataclasses

import numpy as np

from tflm_export.fixed_point import log, one_over_one_plus
from tflm_export.program.form import Broadcasting
from tflm_export.rescale import Rescaler, doubling_high_multiply, rounding_divide_by_pot

SUM_BITS = 12  # integer bits of the sum of exponentials


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Broadcasting):
    """exp of differences to the row's largest integer, as a share of their sum.

    Attributes:
      exponentials: int32, exp(-d) in units of 2**-31 for a difference d of 0, 1, ...; 0 beyond its end.
    """

    exponentials: np.ndarray

    def evaluate(self, x):
        """Source: Softmax in tensorflow/lite/kernels/internal/reference/softmax.h."""
        _, counted, exponential = looked_up(self.exponentials, x)
        total = rounding_divide_by_pot(exponential, SUM_BITS).sum(-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1]  # exact: the sum is below 2**31
        inverse = one_over_one_plus((total << headroom) - (1 << 31))
        output_bits = 8 * self.output.dtype.itemsize
        exponent = SUM_BITS - headroom + 31 - output_bits
        share = rounding_divide_by_pot(doubling_high_multiply(inverse, exponential), exponent)
        low = self.output.limits[0]
        return (self.saturated(np.where(counted, share + low, low)),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SoftmaxInt16(Broadcasting):
    """Softmax of int16 inputs through tables, in units of 2**-15.

    Attributes:
      rescale: of differences to the row's largest integer, to units of the exponential's table.
      exponential: int64 [513], exp on [-10, 0].
      reciprocal: int64 [513], 1 / (1 + x) on [0, 1].
    """

    rescale: Rescaler
    exponential: np.ndarray
    reciprocal: np.ndarray

    def evaluate(self, x):
        """Source: SoftmaxInt16 in tensorflow/lite/kernels/internal/reference/softmax.h."""
        x = x.astype(np.int64)
        difference = self.rescale.apply(x - x.max(-1, keepdims=True))
        exponential = interpolated(self.exponential, np.clip(difference + 32767, -32768, 32767))
        total = exponential.sum(-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1]
        mantissa = ((total << (headroom - 1)) + (1 << 13)) >> 14
        inverse = interpolated(self.reciprocal, np.clip(mantissa - (1 << 15) - (1 << 16), -32768, 32767))
        shift = 31 - headroom
        share = (exponential * inverse + (np.int64(1) << (shift - 1))) >> shift
        return (self.saturated(np.clip(share, 0, 32767)),)


def looked_up(exponentials: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences to the row's largest integer, whether the table has them, and their int64 exponentials, else 0."""
    difference = x.max(-1, keepdims=True).astype(np.int64) - x
    counted = difference < len(exponentials)
    return difference, counted, np.where(counted, exponentials[np.where(counted, difference, 0)].astype(np.int64), 0)


def interpolated(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Linear interpolation in a table [513] over all of int16."""
    index = 256 + (x >> 7)
    return table[index] + (((table[index + 1] - table[index]) * (x & 127) + 64) >> 7)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LogSoftmax(Broadcasting):
    """Differences to the row's largest integer, less the logarithm of the sum of their exponentials.

    Attributes:
      exponentials: int64, exp(-d) in units of 2**-19 for a difference d of 0, 1, ...; 0 beyond its end.
      rescale: of differences, to integers with `unit` fraction bits.
      back: from there to differences.
      unit: fraction bits.
      shift: from there to the output.
    """

    exponentials: np.ndarray
    rescale: Rescaler
    back: Rescaler
    unit: int
    shift: int

    def evaluate(self, x):
        """Source: LogSoftmaxQuantized in tensorflow/lite/kernels/internal/reference/log_softmax.h."""
        difference, _, exponential = looked_up(self.exponentials, x)
        logarithm = log(exponential.sum(-1, keepdims=True), SUM_BITS, 31 - self.unit)
        lowest = self.back.apply(logarithm - (1 << 31))
        seen = -difference > np.maximum(-len(self.exponentials), lowest)
        scaled = self.rescale.apply(np.where(seen, -difference, 0))
        result = rounding_divide_by_pot(scaled - logarithm, self.shift) + 127
        return (self.saturated(np.where(seen, result, -128)),)
