# SPDX-License-Identifier: Apache-2.0
"""A grid of factors that hardware can apply: which there are, and which one a real factor is put on."""

import dataclasses

import numpy as np

from tflm_export import rescale
from tflm_export.rescale import MAX_BITS, Rescale


@dataclasses.dataclass(frozen=True)
class Grid:
    """Multipliers of k bits: factors `m * 2**-s` with `2**(k-1) <= m < 2**k`.

    Whatever has these methods and attributes, and a `str`, can stand in its place (two signed digits, say): solver,
    exporter and check ask for nothing else; training asks for a twin in TensorFlow too (`keras_rat.grid.Family`). With
    the powers of two on a grid no scale more than doubles.

    Attributes:
      bits: width k, 1 to 31: of the widest multiplier, for reports and for products that need room.

    Raises:
      UsageError: bits out of range.
    """

    bits: int

    def __post_init__(self):
        object.__setattr__(self, "bits", rescale.check_bits(self.bits))

    def snap(self, factor, rounding: str = "nearest") -> np.ndarray:
        """Real factors on the grid; one that is there already stays, whatever the rounding.

        Args:
          factor: finite, non-negative floats.
          rounding: "nearest", "up" or "down", in magnitude.

        Returns:
          float64 array of the factor's shape, exact.
        """
        return rescale.snap(factor, self.bits, rounding).value

    def contains(self, factor) -> np.ndarray:
        """Whether factors lie on the grid, up to what float32 scales can do to them; bool array of their shape."""
        return rescale.is_narrow(factor, self.bits)

    def recover(self, factor) -> Rescale:
        """The k-bit integers of factors that are on the grid; others are rounded to it."""
        return rescale.recover(factor, self.bits)

    def recover_held(self, factor, widest: int = MAX_BITS) -> Rescale:
        """The integers that factors of a file have: those of this grid or a narrower one, else the runtime's own.

        Args:
          factor: real factors, as the runtimes compute them.
          widest: what the arithmetic has room for; wider multipliers are rounded to it.
        """
        return rescale.recover_held(factor, self.bits, widest)

    def __str__(self) -> str:
        return "1 bit" if self.bits == 1 else f"{self.bits} bits"


def grid_of(bits) -> Grid:
    """The grid of multipliers of some bits; a grid is returned as it is.

    Raises:
      UsageError: bits is neither a grid nor an integer from 1 to 31.
    """
    return bits if hasattr(bits, "snap") else Grid(bits)


STOCK = Grid(MAX_BITS)
POWERS_OF_TWO = Grid(1)
