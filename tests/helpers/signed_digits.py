# SPDX-License-Identifier: Apache-2.0
"""A grid that is not one of k-bit multipliers: factors of two signed digits."""

import dataclasses
from fractions import Fraction

import numpy as np

from tflm_export.rescale import Rescale

SPREAD = 6  # between the two digits


@dataclasses.dataclass(frozen=True)
class TwoDigits:
    """Factors of two signed digits: `2**a`, `2**a + 2**b` and `2**a - 2**b`, with `a - 6 <= b < a`."""

    bits = SPREAD + 1
    points = np.unique([2.0**a + d * 2.0**b for a in (0, 1) for b in range(a - SPREAD, a) for d in (-1, 0, 1)])

    def snap(self, factor, rounding="nearest"):
        mantissa, exponent = np.frexp(np.asarray(factor, np.float64))  # in [0.5, 1)
        above = np.clip(np.searchsorted(self.points, 2 * mantissa), 1, None)
        low, high = self.points[above - 1], self.points[above]
        nearest = np.where(high - 2 * mantissa <= 2 * mantissa - low, high, low)
        near = np.abs(nearest - 2 * mantissa) <= 2.0**-21 * mantissa
        directed = {"nearest": nearest, "up": high, "down": low}[rounding]
        return np.where(mantissa == 0, 0.0, np.ldexp(np.where(near, nearest, directed), exponent - 1))

    def contains(self, factor):
        return np.abs(self.snap(factor) - factor) <= 2.0**-21 * np.asarray(factor)

    def recover(self, factor):
        mantissa, exponent = np.frexp(self.snap(factor))
        return Rescale(np.ldexp(mantissa, self.bits).astype(np.int64), self.bits - exponent)

    def recover_held(self, factor, widest=31):
        return self.recover(factor)

    def __str__(self):
        return "two signed digits"


def off_two_digits(factor: Fraction) -> Fraction:
    """The relative distance to the nearest factor of two signed digits, by trying all."""
    a = factor.numerator.bit_length() - factor.denominator.bit_length()
    leading = [Fraction(2) ** i for i in range(a - 1, a + 3)]
    points = [x + d * x / 2**j for x in leading for j in range(1, SPREAD + 1) for d in (-1, 0, 1)]
    return min(abs(point / factor - 1) for point in points)
