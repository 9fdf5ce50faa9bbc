# SPDX-License-Identifier: Apache-2.0
"""Sums of two terms at scales of their own, in the numbers of `narrow_add`."""

import dataclasses
from collections.abc import Sequence

from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.program import Step
from tflm_export.rtl.coding import bits_for, signed_bits_for
from tflm_export.rtl.table import Field

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

    block = "narrow_add"

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.step.origin.label


@dataclasses.dataclass(frozen=True)
class SumParameters:
    """The parameters of `narrow_add`; see there."""

    input_bits: int
    multiplier_bits: int
    align_bits: int
    shift_min: int
    shift_bits: int
    start_bits: int
    output_bits: int

    @classmethod
    def of(cls, sums: Sequence[Sum], bits: int) -> "SumParameters":
        """The narrowest adder for some sums with multipliers of k bits."""
        shifts = [each.shift for each in sums]
        return cls(
            input_bits=max(8 * value.dtype.itemsize for each in sums for value in each.step.form.inputs),
            multiplier_bits=bits,
            align_bits=bits_for(*(term.align for each in sums for term in each.terms)),
            shift_min=min(shifts),
            shift_bits=bits_for(max(shifts) - min(shifts)),
            start_bits=signed_bits_for(*(each.start for each in sums)),
            output_bits=max(8 * each.step.form.output.dtype.itemsize for each in sums),
        )

    @property
    def localparams(self) -> dict[str, int]:
        """By the names that they have in Verilog."""
        return {
            "IN_BITS": self.input_bits,
            "MULTIPLIER_BITS": self.multiplier_bits,
            "HIDDEN_BIT": 1,
            "ALIGN_BITS": self.align_bits,
            "SHIFT_MIN": self.shift_min,
            "SHIFT_BITS": self.shift_bits,
            "START_BITS": self.start_bits,
            "OUT_BITS": self.output_bits,
        }


def sum_fields(sums: Sequence[Sum], parameters: SumParameters) -> tuple[Field, ...]:
    """What a table holds of sums, a record for each, from bit 0 up."""
    terms = [("a", [each.terms[0] for each in sums]), ("b", [each.terms[1] for each in sums])]
    hidden, bits = 1 << (parameters.multiplier_bits - 1), parameters.multiplier_bits - 1
    fields = [Field.of("shift", parameters.shift_bits, (each.shift - parameters.shift_min for each in sums))]
    fields += [Field.of(f"align_{n}", parameters.align_bits, (t.align for t in own)) for n, own in terms]
    fields += [Field.of(f"negative_{n}", 1, (t.is_negative for t in own)) for n, own in terms]
    if bits:
        fields += [Field.of(f"multiplier_{n}", bits, (t.multiplier - hidden for t in own)) for n, own in terms]
    fields.append(Field.of("start", parameters.start_bits, (each.start for each in sums), is_signed=True))
    ends = enumerate(("low", "high"))
    return *fields, *(Field.of(n, parameters.output_bits, (s.clamp[i] for s in sums), is_signed=True) for i, n in ends)


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
