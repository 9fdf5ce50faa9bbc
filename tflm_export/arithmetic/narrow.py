# SPDX-License-Identifier: Apache-2.0
"""This package's kernels: narrow multipliers, one rounding, halves up."""

import dataclasses
import math

import numpy as np

from tflm_export.arithmetic.base import Arithmetic, Target, Terms
from tflm_export.grid import STOCK, Grid
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.reduction import Mean, count_along
from tflm_export.rescale import MAX_BITS, WIDE_BITS, Rescale, WideNarrowRescale


@dataclasses.dataclass(frozen=True)
class Narrow(Arithmetic):
    """The multipliers that a file's scales hold, those of a grid where it was narrowed to one.

    Factors that the file holds on no narrow grid keep 31 bits.

    Attributes:
      grid: what the model was narrowed to.
    """

    grid: Grid = STOCK

    def rescale(self, factor, is_wide=False) -> Rescale:
        """In models no wider than the stock runtimes' 15 bits for wide accumulators, no factor is wider there."""
        if not is_wide:
            return self.grid.recover_held(factor)
        found = self.grid.recover_held(factor, WIDE_BITS if self.grid.bits <= WIDE_BITS else MAX_BITS)
        return WideNarrowRescale(found.multiplier, found.shift)

    def sum(self, terms: Terms, target: Target) -> AlignedSum:
        """Both products are aligned to the larger shift, added and rounded once."""
        held = self.rescale(terms.factors)
        shift = max(0, int(held.shift.max()))
        factors = [int(m) << (shift - int(s)) for m, s in zip(held.multiplier, held.shift, strict=True)]
        common = min(shift, *((f & -f).bit_length() - 1 for f in factors if f)) if any(factors) else shift
        shift, factors = shift - common, [f * sign >> common for f, sign in zip(factors, terms.signs, strict=True)]
        start = ((1 << shift) >> 1) + (target.zero_point << shift)
        start -= sum(zero * f for zero, f in zip(terms.zero_points, factors, strict=True))
        return AlignedSum(
            inputs=terms.values,
            outputs=(target.value,),
            factors=(factors[0], factors[1]),
            start=start,
            shift=shift,
            clamp=target.clamp,
            terms=held,
            zero_points=terms.zero_points,
        )

    def mean(self, x, axes, zero_point, factor, target) -> Mean:
        """`2 * (sum * m / divisor) + 1`, over two: floor then rounds halves up."""
        held = self.rescale(factor)
        count = count_along(x, axes)
        multiplier, shift = int(held.multiplier), int(held.shift)
        numerator, divisor = 2 * multiplier << max(-shift, 0), 2 * count << max(shift, 0)
        common = math.gcd(numerator, divisor // 2)
        numerator, divisor = numerator // common, divisor // common
        return Mean(
            inputs=(x,),
            outputs=(target.value,),
            axes=axes,
            factor=numerator,
            start=divisor * target.zero_point + divisor // 2 - zero_point * count * numerator,
            divisor=divisor,
            rescale=Rescale(np.atleast_1d(held.multiplier), np.atleast_1d(held.shift)),
            input_zero_point=zero_point,
        )
