# SPDX-License-Identifier: Apache-2.0
"""A model's rescales on hardware: which block computes each, with which numbers, and how wide the blocks have to be."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.arithmetic import Narrow
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.integer_part import integer_part
from tflm_export.lowering import lower
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.form import running
from tflm_export.program.passes import signed
from tflm_export.program.passes.ranges import Ranges
from tflm_export.program.program import Program, Step
from tflm_export.program.reduction import Mean
from tflm_export.rtl.accumulation import Accumulation, absent, accumulations, is_free
from tflm_export.rtl.channels import Bounded, Channels, accumulator_bits, within
from tflm_export.rtl.coding import Coding, coding_of
from tflm_export.rtl.parameters import Parameters

WIDEST = {8: 24, 16: 48}  # accumulators that hardware is made for without being asked, by the bits of outputs
MOST_BITS = {8: 32, 16: 48}  # the runtimes' own


@dataclasses.dataclass(frozen=True, eq=False)
class Rescaled:
    """What one `narrow_rescale` computes of a step.

    Attributes:
      step: the step.
      accumulation: which of its integers.
      channels: the numbers in the table; as the model has them where `original` says so.
      original: the model's own numbers, with normalised multipliers.
    """

    step: Step
    accumulation: Accumulation
    channels: Channels
    original: Channels

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
    def bias(self) -> np.ndarray:
        """What hardware adds to sums of products, int64 [channels]; modulo 2**accumulator bits in tables."""
        return self.accumulation.bias + self.channels.offset

    @property
    def changed(self) -> int:
        """How many channels have other numbers than in the model."""
        pairs = ((getattr(self.channels, f.name), getattr(self.original, f.name)) for f in dataclasses.fields(Channels))
        return int(np.any([a != b for a, b in pairs], axis=0).sum())


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """All that is needed to build and to fill the hardware.

    Attributes:
      parameters: of the rescaler.
      rescaled: what it computes.
      without: labels of the steps without a block, and why there is none.
    """

    parameters: Parameters
    rescaled: tuple[Rescaled, ...]
    without: tuple[tuple[str, str], ...]


def program_of(data: bytes, grid: Grid) -> tuple[Program, tuple[str, ...]]:
    """What hardware computes of a narrowed model.

    Args:
      data: a .tflite file.
      grid: that of its widest multiplier.

    Returns:
      The program, of int8 where the model is uint8, without what at its ends has no integer form; and the labels of the
      operators that it lacks.

    Raises:
      ModelError: the bytes are no TFLite model, or operators in the middle have no integer form.
    """
    model, left = integer_part(parse(data))
    return signed(lower(model, Narrow(grid))), tuple(operator.label for operator in left)


def design(program: Program, grid: Grid, accumulators: int | None = None) -> Design:
    """The hardware for a program.

    Args:
      program: in the arithmetic `Narrow`, in int8 where it can be (`signed`).
      grid: of the multipliers that there are blocks for; steps with others have none.
      accumulators: bits of accumulators; None for as few as there need be, up to WIDEST.

    Raises:
      UsageError: the accumulators are too narrow, or would be wider than WIDEST without being asked for.
      ModelError: no step has a block.
    """
    ranges, coding = Ranges(program.main), coding_of(grid)
    found, without = [], []
    for step in program.main.steps:
        if is_free(step.form):
            continue
        problem = absent(step.form, coding)
        if not problem and not isinstance(step.form, AlignedSum | Mean):
            try:
                with running(step.origin.label):
                    parts = accumulations(step.form, *map(ranges.of, step.form.inputs))
                found += [(step, part) for part in parts]
            except ModelError as error:
                problem = str(error)
        if problem:
            without.append((step.origin.label, problem))
    if not found:
        raise ModelError("the model has no narrow rescale that hardware could compute")
    originals = [(step, part, _original(part, coding)) for step, part in found]
    parameters = _parameters(originals, coding, accumulators)
    rescaled = []
    for step, part, bounded in originals:
        channels, _ = within(bounded, parameters)
        rescaled.append(Rescaled(step, part, channels, bounded.channels))
    return Design(parameters, tuple(rescaled), tuple(without))


def _original(part: Accumulation, coding: Coding) -> Bounded:
    count, own = part.channels, coding.normalised(part.rescale)
    multiplier, shift = (np.array(np.broadcast_to(a, count)) for a in (own.multiplier, own.shift))
    zero_point, low, high = (np.full(count, value, np.int64) for value in (part.zero_point, *part.clamp))
    channels = Channels(
        offset=np.zeros(count, np.int64), multiplier=multiplier, shift=shift,
        zero_point=zero_point, low=low, high=high,
    )  # fmt: skip
    return Bounded(channels, part.low, part.high)


def _parameters(
    originals: Sequence[tuple[Step, Accumulation, Bounded]], coding: Coding, wanted: int | None
) -> Parameters:
    """The narrowest hardware for all channels that take more than two values, with which the others fit, too."""
    outputs = max(8 * step.form.output.dtype.itemsize for step, _, _ in originals)
    limit = WIDEST[outputs] if wanted is None else wanted
    every = [(step, bounded) for step, _, bounded in originals]
    required = [_many_valued(bounded) for _, bounded in every]
    while True:
        parameters = _spanning(every, required, coding, outputs, limit, wanted)
        unfit = [within(bounded, parameters)[1] & ~kept for (_, bounded), kept in zip(every, required, strict=True)]
        if not any(some.any() for some in unfit):
            return parameters
        required = [kept | some for kept, some in zip(required, unfit, strict=True)]


def _many_valued(bounded: Bounded) -> np.ndarray:
    first, last = bounded.ends()
    return last - first > 1


def _spanning(every, required, coding: Coding, outputs: int, limit: int, wanted: int | None) -> Parameters:
    """Hardware for the channels that are required."""
    needs = [accumulator_bits(bounded.low, bounded.high) for _, bounded in every]
    kept = [need[own] for need, own in zip(needs, required, strict=True)]
    most = int(np.concatenate(kept).max(initial=2))
    if most > limit:
        lines = [
            f"{step.origin.label}, channel {i}"
            for (step, _), need, own in zip(every, needs, required, strict=True)
            for i in np.flatnonzero(own & (need > limit))
        ]
        more = f" and {len(lines) - 1} other channels" if len(lines) > 1 else ""
        raise UsageError(
            f"accumulators of {limit} bits are too narrow: {lines[0]}{more} needs {most}, and gives too many different "
            f"outputs to be computed with other numbers; --rtl_accumulator_bits {most} makes wider hardware"
        )
    shifts = np.concatenate([bounded.channels.shift[own] for (_, bounded), own in zip(every, required, strict=True)])
    if not shifts.size:
        shifts = np.concatenate([bounded.channels.shift for _, bounded in every])[:1]
    low, high = int(shifts.min()), int(shifts.max())
    return Parameters(wanted or most, coding, low, max(1, (high - low).bit_length()), outputs)
