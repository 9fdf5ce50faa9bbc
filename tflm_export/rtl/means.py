# SPDX-License-Identifier: Apache-2.0
"""Means in the numbers of `narrow_mean`: a multiplication and a shift in place of the division by the count."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tflm_export.program.program import Step
from tflm_export.program.reduction import Mean
from tflm_export.rtl.coding import bits_for, signed_bits_for
from tflm_export.rtl.table import Field

_MOST_SHIFT = 40


@dataclasses.dataclass(frozen=True, eq=False)
class Averaged:
    """`y = (sum * multiplier + start) >> shift`, clamped, for sums of raw inputs between two ends.

    Attributes:
      step: the step, of a Mean.
      low, high: the ends of the sums.
      multiplier, start, shift: integers; only `start` may be negative.
      clamp: smallest and largest output.
    """

    step: Step
    low: int
    high: int
    multiplier: int
    start: int
    shift: int
    clamp: tuple[int, int]

    block = "narrow_mean"

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.step.origin.label


@dataclasses.dataclass(frozen=True)
class MeanParameters:
    """The parameters of `narrow_mean`; see there."""

    sum_bits: int
    multiplier_bits: int
    shift_min: int
    shift_bits: int
    start_bits: int
    output_bits: int

    @classmethod
    def of(cls, means: Sequence[Averaged]) -> "MeanParameters":
        """The narrowest block for some means."""
        shifts = [each.shift for each in means]
        return cls(
            sum_bits=signed_bits_for(*(end for each in means for end in (each.low, each.high))),
            multiplier_bits=bits_for(*(each.multiplier for each in means)),
            shift_min=min(shifts),
            shift_bits=bits_for(max(shifts) - min(shifts)),
            start_bits=signed_bits_for(*(each.start for each in means)),
            output_bits=max(8 * each.step.form.output.dtype.itemsize for each in means),
        )

    @property
    def localparams(self) -> dict[str, int]:
        """By the names that they have in Verilog."""
        return {
            "SUM_BITS": self.sum_bits,
            "MULTIPLIER_BITS": self.multiplier_bits,
            "SHIFT_MIN": self.shift_min,
            "SHIFT_BITS": self.shift_bits,
            "START_BITS": self.start_bits,
            "OUT_BITS": self.output_bits,
        }


def mean_fields(means: Sequence[Averaged], parameters: MeanParameters) -> tuple[Field, ...]:
    """What a table holds of means, a record for each, from bit 0 up."""
    return (
        Field.of("shift", parameters.shift_bits, (each.shift - parameters.shift_min for each in means)),
        Field.of("multiplier", parameters.multiplier_bits, (each.multiplier for each in means)),
        Field.of("start", parameters.start_bits, (each.start for each in means), is_signed=True),
        Field.of("low", parameters.output_bits, (each.clamp[0] for each in means), is_signed=True),
        Field.of("high", parameters.output_bits, (each.clamp[1] for each in means), is_signed=True),
    )


def averaged(step: Step[Mean], low: int, high: int) -> Averaged | str:
    """The numbers for a step with the smallest shift there is, or why there are none.

    A mean is a staircase: the sum at which each output starts decides it. A multiplier and a start value make the same
    staircase if every output has been reached at its first sum, and not yet one sum before.

    Args:
      step: the step.
      low, high: the ends of the sums.
    """
    form, clamp = step.form, step.form.output.limits
    first, last = (min(max((s * form.factor + form.start) // form.divisor, clamp[0]), clamp[1]) for s in (low, high))
    outputs = np.arange(first + 1, last + 1, dtype=object)
    starts = -((form.start - outputs * form.divisor) // form.factor) if len(outputs) else outputs
    # At these sums, the output is at least, and at most, so much.
    least = [np.append(starts, low), np.append(outputs, first)]
    most = [np.append(starts - 1, high), np.append(outputs - 1, last)]
    if first == clamp[0]:
        least = [part[:-1] for part in least]
    if last == clamp[1]:
        most = [part[:-1] for part in most]
    for shift, multiplier in _candidates(form):
        needed = max(((v << shift) - s * multiplier for s, v in zip(*least, strict=True)), default=None)
        allowed = min((((v + 1) << shift) - 1 - s * multiplier for s, v in zip(*most, strict=True)), default=needed)
        start = allowed if needed is None else needed
        if start is None or start <= allowed:
            return Averaged(step, low, high, multiplier, start or 0, shift, clamp)
    return f"no multiplier with a shift of up to {_MOST_SHIFT} gives all its outputs"


def _candidates(form: Mean) -> Iterator[tuple[int, int]]:
    """Shifts and the multipliers next to the mean's factor with them."""
    for shift in range(_MOST_SHIFT + 1):
        near = (form.factor << shift) // form.divisor
        yield from ((shift, multiplier) for multiplier in (near, near + 1) if multiplier > 0)
