# SPDX-License-Identifier: Apache-2.0
"""The widths of the rescaler that a model needs."""

import dataclasses

from tflm_export.grid import Grid
from tflm_export.rtl.coding import Coding


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the rescaler is to be, whatever the model.

    Attributes:
      accumulator_bits: None for as few as there need be, up to 24 where outputs are int8, and 48 where they are int16.
      shifts: the smallest and the largest; None for those of the model.
      grids: those that the model was narrowed to, where there are several: a block is for the first of them that all
        its factors are on.
      is_folded: whether rounding and zero point are to be part of the accumulator, which takes multipliers of one bit.
    """

    accumulator_bits: int | None = None
    shifts: tuple[int, int] | None = None
    grids: tuple[Grid, ...] = ()
    is_folded: bool = False


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a rescaler has room for; the parameters of `narrow_rescale`.

    Attributes:
      accumulator_bits: of accumulators, with their sign.
      coding: of multipliers.
      shift_min: the smallest shift; what a table holds is added to it.
      shift_bits: of that.
      output_bits: 8 or 16.
      is_folded: whether rounding and zero point are part of the accumulator.
    """

    accumulator_bits: int
    coding: Coding
    shift_min: int
    shift_bits: int
    output_bits: int
    is_folded: bool = False

    @property
    def shift_max(self) -> int:
        """The largest shift."""
        return self.shift_min + (1 << self.shift_bits) - 1

    @property
    def factor_bits(self) -> int:
        """Of a shift and a multiplier in a table."""
        return self.shift_bits + self.coding.factor_bits

    @property
    def localparams(self) -> dict[str, int]:
        """By the names that they have in Verilog."""
        return {
            "ACC_BITS": self.accumulator_bits,
            **self.coding.parameters,
            "SHIFT_MIN": self.shift_min,
            "SHIFT_BITS": self.shift_bits,
            "OUT_BITS": self.output_bits,
            **({"FOLDED": int(self.is_folded)} if self.coding.can_fold else {}),
        }
