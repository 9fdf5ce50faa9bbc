# SPDX-License-Identifier: Apache-2.0
"""How hardware of a grid holds multipliers: which there are, and the fields of a table that say which one."""

import dataclasses
from typing import Any

import numpy as np

from tflm_export.grid import Grid
from tflm_export.rescale import Rescale

_DISTANCE_BITS = 2  # between two signed digits


def odd(multiplier: np.ndarray) -> np.ndarray:
    """Multipliers without the zeros at their lower ends; int64, 0 stays 0."""
    return multiplier // np.maximum(multiplier & -multiplier, 1)


def width(integers: np.ndarray) -> np.ndarray:
    """The bits of integers from 0 on, below 2**53; int64."""
    return np.frexp(np.asarray(integers).astype(np.float64))[1].astype(np.int64)


def bits_for(*integers: int) -> int:
    """The width of the smallest field that holds integers from 0 on; 1 at least."""
    return max(1, *(integer.bit_length() for integer in integers))


def signed_bits_for(*integers: int) -> int:
    """The width of the smallest field that holds integers in two's complement; 2 at least."""
    return 1 + bits_for(*(max(integer, ~integer) for integer in integers))


@dataclasses.dataclass(frozen=True)
class Coding:
    """Multipliers of k bits, the top one of which is always 1, and in no table.

    Attributes:
      bits: k.
    """

    bits: int
    block = "narrow_rescale"
    can_fold = True  # the block has a parameter for it

    @property
    def power(self) -> int:
        """A multiplier that is a power of two."""
        return 1 << (self.bits - 1)

    def holds(self, multiplier: np.ndarray) -> np.ndarray:
        """Which factors of any multipliers there are; bool of their shape."""
        return width(odd(multiplier)) <= self.bits

    def normalised(self, rescale: Rescale) -> Rescale:
        """The same factors as hardware holds them; 0 stays 0.

        Rounding is the same, too: with the product, the rounding constant is shifted.
        """
        single = odd(rescale.multiplier)
        moved = np.where(single > 0, self._places(single), 0)
        dropped = width(rescale.multiplier) - width(single)
        return Rescale(single << moved, np.where(single > 0, rescale.shift - dropped + moved, 0))

    def _places(self, single: np.ndarray) -> np.ndarray:
        """By how much odd multipliers are shifted to the left."""
        return np.maximum(self.bits - width(single), 0)

    def fields(self, multiplier: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
        """What tables hold of normalised multipliers: name, bits, and integers from 0 on."""
        return [("multiplier", self.bits - 1, multiplier - self.power)] if self.bits > 1 else []

    @property
    def factor_bits(self) -> int:
        """Of a multiplier in a table."""
        return self.bits - 1

    @property
    def parameters(self) -> dict[str, int]:
        """Those of the block that say what its multipliers are."""
        return {"MULTIPLIER_BITS": self.bits, "HIDDEN_BIT": 1}


@dataclasses.dataclass(frozen=True)
class TwoDigitCoding(Coding):
    """Odd multipliers of two signed digits."""

    grid: Any  # of two signed digits, which has `digits` besides
    block = "narrow_rescale_csd"
    can_fold = False

    @property
    def power(self) -> int:
        return 1

    def holds(self, multiplier: np.ndarray) -> np.ndarray:
        return (multiplier == 0) | self.grid.contains(np.maximum(odd(multiplier), 1).astype(np.float64))

    def _places(self, single: np.ndarray) -> np.ndarray:
        return np.zeros_like(single)

    def fields(self, multiplier: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
        distance, negative = self.grid.digits(multiplier)
        return [("distance", _DISTANCE_BITS, distance), ("negative", 1, negative.astype(np.int64))]

    @property
    def factor_bits(self) -> int:
        return _DISTANCE_BITS + 1

    @property
    def parameters(self) -> dict[str, int]:
        return {"DISTANCE_BITS": _DISTANCE_BITS}


def coding_of(grid: Grid) -> Coding:
    """The coding for a grid."""
    return TwoDigitCoding(grid.bits, grid) if hasattr(grid, "digits") else Coding(grid.bits)
