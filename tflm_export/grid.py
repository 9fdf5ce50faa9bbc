# SPDX-License-Identifier: Apache-2.0
"""A grid of factors that hardware can apply: which there are, and which one a real factor is put on."""

import dataclasses
from typing import Any

import numpy as np

from tflm_export import rescale
from tflm_export.errors import UsageError
from tflm_export.rescale import MAX_BITS, Rescale
from tflm_export.signed_digits import CSD2


@dataclasses.dataclass(frozen=True)
class Grid:
    """Multipliers of k bits: factors `m * 2**-s` with `2**(k-1) <= m < 2**k`.

    Whatever has these methods and attributes, and a `str`, can stand in its place (`signed_digits.TwoDigits` does):
    solver, exporter and check ask for nothing else; training asks for a twin in TensorFlow too
    (`keras_rat.grid.Family`). With the powers of two on a grid no scale more than doubles.

    Attributes:
      bits: width k, 1 to 31: of the widest multiplier, for reports and for products that need room.
      name: short, for names of files and for reports: "k4".

    Raises:
      UsageError: bits out of range.
    """

    bits: int

    def __post_init__(self):
        object.__setattr__(self, "bits", rescale.check_bits(self.bits))

    @property
    def name(self) -> str:
        return f"k{self.bits}"

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


NAMED: dict[str, Any] = {CSD2.name: CSD2}  # those that are no number of bits


def grid_of(bits) -> Grid:
    """The grid of multipliers of some bits, or of a name: "csd2"; a grid is returned as it is.

    Raises:
      UsageError: bits is neither a grid, nor a name of one, nor an integer from 1 to 31.
    """
    if hasattr(bits, "snap"):
        return bits
    if isinstance(bits, str):
        if bits not in NAMED:
            raise UsageError(
                f"bits must be an integer from 1 to {MAX_BITS}, or the name of a grid, {', '.join(NAMED)}; got {bits!r}"
            )
        return NAMED[bits]
    return Grid(bits)


STOCK = Grid(MAX_BITS)
POWERS_OF_TWO = Grid(1)
