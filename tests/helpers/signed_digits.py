# SPDX-License-Identifier: Apache-2.0
"""Factors of signed digits: a grid of three that is none of ours, and how far a factor is from those of any number."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np

from tflm_export.rescale import Rescale


def mantissas(digits: int, distance: int) -> list[Fraction]:
    """All factors from 1 to 2 of at most so many signed digits, each up to `distance` bits below the one before."""
    found = set()
    below = itertools.product(range(1, distance + 1), (-1, 0, 1))
    for leading, chain in itertools.product((1, 2), itertools.product(list(below), repeat=digits - 1)):
        total, place = Fraction(leading), 0
        for step, sign in chain:
            place += step
            total += Fraction(sign * leading, 2**place)
        found.add(total)
    return sorted(point for point in found if 1 <= point <= 2)


def nearest(factor: Fraction, digits: int, distance: int) -> Fraction:
    """The nearest of those factors in any octave, the larger of two; by trying all."""
    a = factor.numerator.bit_length() - factor.denominator.bit_length()
    points = [point * Fraction(2) ** i for point in mantissas(digits, distance) for i in range(a - 2, a + 2)]
    return min(points, key=lambda point: (abs(point - factor), -point))


def off_digits(factor: Fraction, digits: int, distance: int) -> Fraction:
    """The relative distance to the nearest of those factors."""
    return abs(nearest(factor, digits, distance) / factor - 1)


@dataclasses.dataclass(frozen=True)
class ThreeDigits:
    """Factors of up to three signed digits, each up to 3 bits below the one before."""

    name = "three"
    bits = 7
    points = np.array([float(point) for point in mantissas(3, 3)])

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
        return "three signed digits"


def off_three_digits(factor: Fraction) -> Fraction:
    """The relative distance to the nearest factor of that grid."""
    return off_digits(factor, 3, 3)


def off_csd2(factor: Fraction) -> Fraction:
    """The relative distance to the nearest factor of two signed digits up to 3 bits apart."""
    return off_digits(factor, 2, 3)


def all_off_csd2(factors: np.ndarray) -> np.ndarray:
    """`off_csd2` of many positive float64 factors, to 2**-52."""
    points = np.array([float(point) for point in mantissas(2, 3)])
    mantissa = factors / np.exp2(np.floor(np.log2(factors)))
    return np.abs(points / mantissa[:, np.newaxis] - 1).min(1)
