# SPDX-License-Identifier: Apache-2.0
"""Sums of two terms at scales of their own, in the numbers of `narrow_add`."""

import dataclasses

from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.program import Step

_MOST_BITS = 62  # of a start value


@dataclasses.dataclass(frozen=True)
class Term:
    """A factor `multiplier << align`, subtracted where it is negative.

    Attributes:
      multiplier: of exactly k bits.
      align: 0 or more.
      is_negative: whether the term is subtracted.
    """

    multiplier: int
    align: int
    is_negative: bool

    @property
    def factor(self) -> int:
        """The factor with its sign."""
        return (-self.multiplier if self.is_negative else self.multiplier) << self.align


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """`y = (a * fa + b * fb + start) >> shift`, clamped.

    Attributes:
      step: the step, of an AlignedSum.
      terms: the factors.
      start, shift, clamp: exact integers.
    """

    step: Step
    terms: tuple[Term, Term]
    start: int
    shift: int
    clamp: tuple[int, int]

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.step.origin.label


def sum_of(step: Step[AlignedSum], bits: int) -> Sum | str:
    """The numbers for a step, or why there are none.

    Multipliers get k bits, with the top one set. Where a factor has fewer places than that, everything is shifted to
    the left by what is missing, and so is what is dropped at the end.

    Args:
      step: the step.
      bits: k.
    """
    form = step.form
    if not all(form.factors):
        return "one of its factors is 0"
    missing = max(0, *(bits - abs(factor).bit_length() for factor in form.factors))
    start, shift = form.start << missing, form.shift + missing
    if abs(start).bit_length() > _MOST_BITS:
        return f"its terms are too far apart: the sum starts with {start}"
    terms = []
    for factor in form.factors:
        magnitude = abs(factor) << missing
        align = magnitude.bit_length() - bits
        if magnitude & ((1 << align) - 1):
            return f"one of its factors, {factor}, has more than {bits} bits"
        terms.append(Term(magnitude >> align, align, factor < 0))
    return Sum(step, (terms[0], terms[1]), start, shift, form.clamp)
