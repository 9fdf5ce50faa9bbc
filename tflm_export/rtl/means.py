# SPDX-License-Identifier: Apache-2.0
"""Means and average pools in the numbers of `narrow_mean`: a multiplication and a shift in place of a division."""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tflm_export.program.passes.ranges import padded_taps
from tflm_export.program.pool import AveragePool
from tflm_export.program.program import Step
from tflm_export.program.reduction import Mean
from tflm_export.rescale import rounding_divide
from tflm_export.rtl.coding import bits_for, signed_bits_for
from tflm_export.rtl.table import Field

_MOST_SHIFT = 40
_MOST_SUMS = 1 << 27


@dataclasses.dataclass(frozen=True, eq=False)
class Averaged:
    """`y = (sum * multiplier + start) >> shift`, clamped, for sums of raw inputs between two ends.

    Attributes:
      step: the step, of a Mean or an AveragePool.
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

    def sums(self, x: np.ndarray) -> np.ndarray:
        """What the block gets for inputs of the step [inferences, *shape]; int64, in the order of the output."""
        form = self.step.form
        found = form.sums(x.reshape(-1, *x.shape[-3:])) if isinstance(form, AveragePool) else form.reduced(np.sum, x)
        return found.astype(np.int64)


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


def averaged(step: Step[Mean] | Step[AveragePool], low: int, high: int) -> Averaged | str:
    """The numbers for a step with the smallest shift there is, or why there are none.

    A mean is a staircase: the sums at which its outputs start say all about it. A multiplier and a start value make the
    same staircase if every output has been reached at its first sum, and not yet one sum before. (Halves that go away
    from zero make one step shorter than the others, which a slope that is a trifle steeper makes up for.)

    Args:
      step: the step.
      low, high: the smallest and the largest input.
    """
    form = step.form
    count = _count(form)
    if count is None:
        return "its windows reach over the border, where they hold fewer elements"
    if (high - low) * count >= _MOST_SUMS:
        return f"sums of {count} elements are too many to be tried"
    clamp = form.clamp if isinstance(form, AveragePool) else form.output.limits
    sums = np.arange(low * count, high * count + 1)
    outputs = np.clip(_means(form, count, sums), *clamp)
    first, last = int(outputs[0]), int(outputs[-1])
    values = np.arange(first + 1, last + 1)
    starts = sums[np.searchsorted(outputs, values)]
    # At these sums, the output is at least, and at most, so much; beyond the clamp, anything.
    least = [np.append(starts, sums[0]), np.append(values, first)] if first > clamp[0] else [starts, values]
    most = (
        [np.append(starts - 1, sums[-1]), np.append(values - 1, last)] if last < clamp[1] else [starts - 1, values - 1]
    )
    slope = Fraction(form.factor, form.divisor) if isinstance(form, Mean) else Fraction(1, count)
    for shift in range(_MOST_SHIFT + 1):
        near = math.floor(slope * (1 << shift))
        for multiplier in range(max(1, near), near + 3):
            start = _start(multiplier, shift, least, most)
            if start is not None:
                return Averaged(step, int(sums[0]), int(sums[-1]), multiplier, start, shift, clamp)
    return f"no multiplier with a shift of up to {_MOST_SHIFT} gives all its outputs"


def _count(form: Mean | AveragePool) -> int | None:
    """How many elements a sum is of; None where not all are of as many."""
    if isinstance(form, Mean):
        return form.count
    return None if padded_taps(form.windows)[0].any() else len(form.windows.taps)


def _means(form: Mean | AveragePool, count: int, sums: np.ndarray) -> np.ndarray:
    if isinstance(form, AveragePool):
        return rounding_divide(sums, np.int64(count))
    exact = np.int64 if max(form.reach, form.divisor) < 1 << 63 else object
    return ((sums.astype(exact) * form.factor + form.start) // form.divisor).astype(np.int64)


def _start(multiplier: int, shift: int, least: tuple[np.ndarray, ...], most: tuple[np.ndarray, ...]) -> int | None:
    """The start value with which `(sum * multiplier + start) >> shift` keeps to both limits; None where none does."""
    needed = ((least[1] << shift) - least[0] * multiplier).max(initial=-(1 << 62))
    allowed = (((most[1] + 1) << shift) - 1 - most[0] * multiplier).min(initial=1 << 62)
    if needed > allowed:
        return None
    return int(needed if least[0].size else min(allowed, 0))
