# SPDX-License-Identifier: Apache-2.0
"""Sums of two terms, each at a scale of its own."""

import dataclasses

import numpy as np

from tflm_export.program.form import Broadcasting, Rescaling, centred, lined_up, reach
from tflm_export.rescale import Rescale


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AlignedSum(Broadcasting):
    """`y = (fa * a + fb * b + start) >> shift`, clamped: both terms aligned, rounded once, halves up.

    The start value holds the zero points of all three and the rounding constant.

    Attributes:
      factors: fa and fb, exact integers of any size; negative in a difference.
      start: an exact integer.
      shift: 0 or more.
      clamp: smallest and largest output.
      terms: the rescales that the factors align, for reports; their multipliers are not negative.
      zero_points: of the terms.
    """

    factors: tuple[int, int]
    start: int
    shift: int
    clamp: tuple[int, int]
    terms: Rescale
    zero_points: tuple[int, int]

    @property
    def reach(self) -> int:
        """A bound on every partial sum over raw inputs."""
        terms = zip(self.factors, self.inputs, strict=True)
        return sum(abs(factor) * reach(value, 0) for factor, value in terms) + abs(self.start)

    def evaluate(self, *inputs):
        exact = np.int64 if self.reach < 1 << 63 and self.shift < 63 else object
        rank = len(self.output.shape)
        total = sum(lined_up(x, rank).astype(exact) * f for x, f in zip(inputs, self.factors, strict=True)) + self.start
        return (self.saturated((total >> self.shift), self.clamp),)

    @property
    def rescalings(self):
        reaches = [reach(value, zero) for value, zero in zip(self.inputs, self.zero_points, strict=True)]
        return (Rescaling(self.terms, np.array(reaches, np.float64), is_aligned=True),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RescaledSum(Broadcasting):
    """The stock runtimes' sum: terms shifted left, each rescaled to a common scale, added, rescaled, clamped.

    Attributes:
      zero_points: of the terms.
      left_shift: of the centred terms.
      signs: 1 or -1 for each term.
      to_common: the rescale of each term.
      to_output: the rescale of the sum.
      zero_point: of the output.
      clamp: smallest and largest output.
    """

    zero_points: tuple[int, int]
    left_shift: int
    signs: tuple[int, int]
    to_common: tuple[Rescale, Rescale]
    to_output: Rescale
    zero_point: int
    clamp: tuple[int, int]

    def evaluate(self, *inputs):
        """Source: AddFunc in tensorflow/lite/kernels/internal/reference/integer_ops/add.h."""
        terms = zip(inputs, self.zero_points, self.signs, self.to_common, strict=True)
        rank = len(self.output.shape)
        total = sum(
            sign * rescale.apply(lined_up(centred(x, zero), rank) << self.left_shift)
            for x, zero, sign, rescale in terms
        )
        return (self.saturated(self.to_output.apply(total) + self.zero_point, self.clamp),)
