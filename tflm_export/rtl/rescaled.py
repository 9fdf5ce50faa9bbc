# SPDX-License-Identifier: Apache-2.0
"""The rescales of a model, and the narrowest hardware that computes them all."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.accumulators import LEAST, WIDEST
from tflm_export.errors import UsageError
from tflm_export.program.program import Step
from tflm_export.rtl.accumulation import Accumulation
from tflm_export.rtl.channels import Bounded, Channels, unfit, within
from tflm_export.rtl.coding import Coding
from tflm_export.rtl.parameters import Parameters, Wanted
from tflm_export.rtl.table import Field

_BITS_FOR_ENDS = 2  # of accumulators that are better spent than three more fields in all records of a layer


@dataclasses.dataclass(frozen=True, eq=False)
class Rescaled:
    """What one `narrow_rescale` computes of a step.

    Attributes:
      step: the step.
      accumulation: which of its integers.
      channels: the numbers in the table.
      original: the model's own numbers, with normalised multipliers.
      block: the module.
      is_folded: whether rounding and zero point are part of the accumulator.
    """

    step: Step
    accumulation: Accumulation
    channels: Channels
    original: Channels
    block: str
    is_folded: bool = False

    @property
    def label(self) -> str:
        """How messages name it."""
        part = self.accumulation.part
        return f"{self.step.origin.label}{f', {part}' if part else ''}"

    @property
    def is_shared(self) -> bool:
        """Whether one multiplier and shift are for all channels: the model has one, and no channel got others."""
        own = self.channels
        is_one = self.accumulation.rescale.multiplier.size == 1
        return is_one and bool((own.multiplier == own.multiplier[0]).all() and (own.shift == own.shift[0]).all())

    @property
    def offset(self) -> np.ndarray:
        """What the hardware's accumulator is more than the model's, int64 [channels]."""
        return self.channels.offset + self.channels.fold if self.is_folded else self.channels.offset

    @property
    def bias(self) -> np.ndarray:
        """What hardware adds to sums of products, int64 [channels]; modulo 2**accumulator bits in tables."""
        return self.accumulation.bias + self.offset

    @property
    def zero_point(self) -> np.ndarray:
        """What hardware adds to what it shifted, int64 [channels]."""
        return np.zeros_like(self.channels.zero_point) if self.is_folded else self.channels.zero_point

    def fields(self, parameters: Parameters) -> tuple[Field, ...]:
        """What the numbers of its channels are in hardware, a record for each, from bit 0 up."""
        own, output = self.channels, parameters.output_bits
        return (
            Field("shift", parameters.shift_bits, own.shift - parameters.shift_min),
            *(Field(*parts) for parts in parameters.coding.fields(own.multiplier)),
            Field("bias", parameters.accumulator_bits, self.bias, is_signed=True),
            Field("zero_point", output, self.zero_point, is_signed=True),
            *(Field(name, output, getattr(own, name), is_signed=True) for name in ("low", "high")),
        )

    @property
    def changed(self) -> int:
        """How many channels have other numbers than in the model."""
        pairs = ((getattr(self.channels, f.name), getattr(self.original, f.name)) for f in dataclasses.fields(Channels))
        return int(np.any([a != b for a, b in pairs], axis=0).sum())


def rescaled(
    found: Sequence[tuple[Step, Accumulation]], coding: Coding, wanted: Wanted
) -> tuple[Parameters, list[Rescaled]]:
    """Hardware for accumulations, and the numbers of their channels on it.

    Args:
      found: the accumulations, with the steps they are of; at least one.
      coding: of multipliers.
      wanted: what it is to be.

    Raises:
      UsageError: a channel with many outputs needs wider accumulators or other shifts; names it, and what will do.
    """
    every = [(step, part, _original(part, coding)) for step, part in found]
    parameters = _parameters([(step, bounded) for step, _, bounded in every], coding, wanted)
    return parameters, [
        Rescaled(step, part, within(own, parameters)[0], own.channels, coding.block, parameters.is_folded)
        for step, part, own in every
    ]


def _original(part: Accumulation, coding: Coding) -> Bounded:
    count, own = part.channels, coding.normalised(part.rescale)
    multiplier, shift = (np.array(np.broadcast_to(a, count)) for a in (own.multiplier, own.shift))
    zero_point, low, high = (np.full(count, value, np.int64) for value in (part.zero_point, *part.clamp))
    channels = Channels(
        offset=np.zeros(count, np.int64), multiplier=multiplier, shift=shift,
        zero_point=zero_point, low=low, high=high,
    )  # fmt: skip
    return Bounded(channels, part.low, part.high)


def _parameters(every: Sequence[tuple[Step, Bounded]], coding: Coding, wanted: Wanted) -> Parameters:
    """The narrowest hardware for all channels.

    Raises:
      UsageError: as `rescaled`.
    """
    limit = wanted.accumulator_bits or WIDEST[_output_bits(every)]
    found, without = _within_limit(every, coding, limit, wanted.accumulator_bits or LEAST, wanted)
    if found is not None:
        return found if wanted.accumulator_bits else _with_shared_ends(every, found, limit)
    (step, channel), *others = without
    wider = range(limit + 1, 65)
    enough = next(bits for bits in wider if _within_limit(every, coding, bits, bits, wanted)[0] is not None)
    more = f", as {len(others)} other channels do" if others else ""
    raise UsageError(
        f"accumulators of {limit} bits are too narrow: {step.origin.label}, channel {channel}, needs more{more}, and "
        f"has too many outputs for other numbers to give the same; --rtl_accumulator_bits {enough} makes wider hardware"
    )


def _within_limit(
    every: Sequence[tuple[Step, Bounded]], coding: Coding, limit: int, bits: int, wanted: Wanted
) -> tuple[Parameters | None, list[tuple[Step, int]]]:
    """The narrowest hardware of up to `limit` bits, or which channels it has no room for.

    Channels of more than two outputs stay as they are if their accumulators are within the limit, for which there have
    to be the bits, and all with their own shift if they are not. The others get numbers that fit.
    """
    needs = [bounded.bits(wanted.is_folded) for _, bounded in every]
    lively = [_many_valued(bounded) for _, bounded in every]
    while True:
        kept = [need[own & (need <= limit)] for own, need in zip(lively, needs, strict=True)]
        bits = max(bits, *(int(need.max(initial=2)) for need in kept))
        low, high = _shifts(every, lively, wanted.shifts) or (
            coding.bits,
            coding.bits,
        )  # where all are dead, any will do
        span = max(1, (high - low).bit_length())
        parameters = Parameters(bits, coding, low, span, _output_bits(every), wanted.is_folded)
        left = [unfit(bounded, parameters) for _, bounded in every]
        if not any(some.any() for some in left):
            return parameters, []
        grown = [own | some for own, some in zip(lively, left, strict=True)]
        if all((own == more).all() for own, more in zip(lively, grown, strict=True)):
            bits += 1
        lively = grown
        if bits > limit:
            return None, [(step, i) for (step, _), some in zip(every, left, strict=True) for i in np.flatnonzero(some)]


def _with_shared_ends(every: Sequence[tuple[Step, Bounded]], narrowest: Parameters, limit: int) -> Parameters:
    """Hardware that is a little wider, if with that no channel needs a zero point or limits of its own."""
    most = min(limit, narrowest.accumulator_bits + _BITS_FOR_ENDS)
    for bits in range(narrowest.accumulator_bits, most + 1):
        parameters = dataclasses.replace(narrowest, accumulator_bits=bits)
        if all(within(bounded, parameters)[0].has_ends_of(bounded.channels) for _, bounded in every):
            return parameters
    return narrowest


def _output_bits(every: Sequence[tuple[Step, Bounded]]) -> int:
    return max(8 * step.form.output.dtype.itemsize for step, _ in every)


def _many_valued(bounded: Bounded) -> np.ndarray:
    first, last = bounded.ends()
    return last - first > 1


def _shifts(
    every: Sequence[tuple[Step, Bounded]], lively: list[np.ndarray], wanted: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The smallest and the largest shift, of the channels that need their own or as wanted; None where none does."""
    own = [(step, bounded.channels.shift[some]) for (step, bounded), some in zip(every, lively, strict=True)]
    found = np.concatenate([shifts for _, shifts in own])
    if wanted is None:
        return (int(found.min()), int(found.max())) if found.size else None
    low, high = wanted
    beyond = [step.origin.label for step, shifts in own if ((shifts < low) | (shifts > high)).any()]
    if beyond:
        more = f" and {len(beyond) - 1} other layers" if len(beyond) > 1 else ""
        enough = f"{min(low, int(found.min()))}:{max(high, int(found.max()))}"
        raise UsageError(
            f"shifts from {low} to {high} are too few: {beyond[0]}{more} has others, and too many outputs for other "
            f"numbers to give the same; --rtl_shifts {enough} will do"
        )
    return wanted
