# SPDX-License-Identifier: Apache-2.0
"""The grid `csd2`: factors of two signed digits, `2**a`, `2**a + 2**b` and `2**a - 2**b`.

Hardware applies them with two shifts and one addition, `(acc << d) +- acc`, instead of a multiplier. (CSD is the
canonical signed digit form: no two digits beside each other. Reitwiesner, "Binary arithmetic", Advances in Computers 1,
1960, pages 231 to 308.)

How far apart the digits may be decides little: at every distance from 3 on a factor is rounded by at most 1/11 to
nearest and 1/5 upwards, in the gap from 5/4 to 3/2. On average over the logarithm of the factor it is

    digits apart, at most   3 bits         4 bits         7 bits         k = 2           k = 3          k = 4
    nearest, upwards        3.6 %, 7.6 %   3.0 %, 6.4 %   2.8 %, 6.0 %   8.9 %, 20.2 %   4.5 %, 9.6 %   2.3 %, 4.6 %

while a product grows by that many bits, and one. So the digits are at most `DISTANCE` = 3 apart: a field of two bits,
and products of four bits more than the accumulator, as at k = 4.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tflm_export import rescale
from tflm_export.errors import UsageError
from tflm_export.rescale import MAX_BITS, Rescale

DISTANCE = 3  # between the two digits, at most, in bits
# Odd multipliers in the order of their mantissas, from 1/2 on; the last is the first of the next octave.
_MULTIPLIERS = np.array([1, 9, 5, 3, 7, 1])
_DROPS = np.array([1, 4, 3, 2, 3, 0])
_MANTISSAS = np.ldexp(_MULTIPLIERS.astype(np.float64), -_DROPS)
_DIGITS = {0: (0, True), 1: (1, True), 3: (1, False), 5: (2, False), 7: (3, True), 9: (3, False)}


@dataclasses.dataclass(frozen=True)
class TwoDigits:
    """Factors `m * 2**-s` whose odd m is 1, or 3, 5, 7 or 9: `2**d + 1` or `2**d - 1` with d up to 3.

    Stands in the place of a `tflm_export.grid.Grid`, with the same methods.

    Attributes:
      name: on the command line, in names of files and in metadata.
      bits: of the widest multiplier.
    """

    name: ClassVar[str] = "csd2"
    bits: ClassVar[int] = DISTANCE + 1

    def snap(self, factor, rounding: str = "nearest") -> np.ndarray:
        """Real factors on the grid, as `Grid.snap`: of two that are as near, the larger; float64, exact."""
        nearest = self._rounded(factor, "nearest")
        return rescale.stay(factor, nearest, self._rounded(factor, rounding)).value

    def contains(self, factor) -> np.ndarray:
        """Whether factors lie on the grid, up to what float32 scales can do to them; bool array of their shape."""
        return rescale.is_near(factor, self._rounded(factor, "nearest"))

    def recover(self, factor) -> Rescale:
        """The integers of factors that are on the grid, m being odd, or 0; others are rounded to it."""
        return self._rounded(rescale.flush(factor), "nearest")

    def recover_held(self, factor, widest: int = MAX_BITS) -> Rescale:
        """The integers that factors of a file have, as `Grid.recover_held`: m of those on this grid is odd."""
        return rescale.recover_held(factor, self.bits, widest)

    def digits(self, multiplier) -> tuple[np.ndarray, np.ndarray]:
        """What hardware is told of multipliers: `m = (1 << distance) + (-1 if negative else 1)`.

        Args:
          multiplier: integers of `recover`.

        Returns:
          distance: int64, 0 to `DISTANCE`; negative: bool; both of the multipliers' shape. 0 is `(1 << 0) - 1`.

        Raises:
          UsageError: a multiplier is none of `recover`.
        """
        multiplier = np.asarray(multiplier, np.int64)
        if others := sorted({*multiplier.ravel().tolist()} - _DIGITS.keys()):
            raise UsageError(f"{self} make multipliers of {', '.join(map(str, _DIGITS))}, not of {others[0]}")
        found = np.array([_DIGITS.get(m, (0, False)) for m in range(max(_DIGITS) + 1)])[multiplier]
        return found[..., 0], found[..., 1].astype(bool)

    def _rounded(self, factor, rounding: str) -> Rescale:
        """The points next to factors, which may be on the grid already."""
        mantissa, exponent = np.frexp(rescale.checked(factor))  # mantissa in [0.5, 1), or 0
        above = np.clip(np.searchsorted(_MANTISSAS, mantissa), 1, None)  # where it is a point, that one
        # Differences of mantissas are exact: all are multiples of 2**-53 in one octave.
        low, high = mantissa - _MANTISSAS[above - 1], _MANTISSAS[above] - mantissa
        if rounding == "nearest":
            point = np.where(high <= low, above, above - 1)
        elif rounding == "up":
            point = above - (low <= 0)
        elif rounding == "down":
            point = above - (high > 0)
        else:
            raise UsageError(f"rounding must be one of {', '.join(rescale.ROUNDINGS)}, got {rounding!r}")
        zero = mantissa == 0
        shift = _DROPS[point] - exponent.astype(np.int64)
        return Rescale(np.where(zero, 0, _MULTIPLIERS[point]), np.where(zero, 0, shift))

    def __str__(self) -> str:
        return "two signed digits"


CSD2 = TwoDigits()
