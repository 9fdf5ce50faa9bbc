# SPDX-License-Identifier: Apache-2.0
"""The widths of the blocks that a model needs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a rescaler has room for; the parameters of `narrow_rescale`.

    Attributes:
      accumulator_bits: of accumulators, with their sign.
      multiplier_bits: k; the top bit of a multiplier is always 1, and in no table.
      shift_min: the smallest shift; what a table holds is added to it.
      shift_bits: of that.
      output_bits: 8 or 16.
    """

    accumulator_bits: int
    multiplier_bits: int
    shift_min: int
    shift_bits: int
    output_bits: int

    @property
    def shift_max(self) -> int:
        """The largest shift."""
        return self.shift_min + (1 << self.shift_bits) - 1

    @property
    def factor_bits(self) -> int:
        """Of the shift and the multiplier in a record of a table."""
        return self.shift_bits + self.multiplier_bits - 1
