# SPDX-License-Identifier: Apache-2.0
"""The grid `csd2` in training: factors of two signed digits, in float32 TensorFlow operations.

The twin of `tflm_export.signed_digits`, and tested to be equal, where `keras_rat.grid` says that twins are.
"""

import numpy as np
import tensorflow as tf

from keras_rat import grid
from tflm_export.errors import UsageError
from tflm_export.grid import Grid, grid_of
from tflm_export.rescale import FLOAT32_TOLERANCE
from tflm_export.signed_digits import CSD2 as EXACT

_POINTS = np.array([1, 9 / 8, 5 / 4, 3 / 2, 7 / 4, 2], np.float32)  # of an octave, and the first of the next
_STEPS, _MIDDLES = np.diff(_POINTS), (_POINTS[:-1] + _POINTS[1:]) / 2
_EXPONENT = 0x7F800000  # of a float32


class TwoDigits:
    """Factors of two signed digits; at widths above `bits`, which schedules start from, multipliers of those.

    Attributes:
      name: what saved models call it.
      bits: of the widest multiplier: there is one grid, and no other width to ask for.
    """

    name, bits = EXACT.name, EXACT.bits

    def snap(self, factor: tf.Tensor, bits: int | tf.Tensor, rounding: str) -> tf.Tensor:
        return tf.where(tf.less_equal(bits, self.bits), _snap(factor, rounding), grid.snap(factor, bits, rounding))

    def exact(self, bits: int) -> Grid:
        return grid_of(EXACT if bits <= self.bits else bits)


def _snap(factor: tf.Tensor, rounding: str) -> tf.Tensor:
    """Factors on the grid. No gradient.

    Args:
      factor: float32 of any shape, 0 or from `grid.SMALLEST` to below 2**127.
      rounding: "nearest" (halves up), or "up", where factors that are on the grid up to float32 rounding stay.
    """
    if rounding not in ("nearest", "up"):
        raise UsageError(f"rounding must be nearest or up, got {rounding!r}")
    factor = tf.stop_gradient(factor)
    power = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(factor, tf.int32), _EXPONENT), tf.float32)
    mantissa = tf.math.divide_no_nan(factor, power)  # exact, in [1, 2), or 0
    beside = mantissa[..., tf.newaxis]
    nearest = 1 + tf.reduce_sum(tf.where(beside >= _MIDDLES, _STEPS, 0.0), -1)
    if rounding == "up":
        above = 1 + tf.reduce_sum(tf.where(beside > _POINTS[:-1], _STEPS, 0.0), -1)
        nearest = tf.where(tf.abs(nearest - mantissa) <= FLOAT32_TOLERANCE * mantissa, nearest, above)
    return nearest * power


CSD2 = grid.register(TwoDigits())
