# SPDX-License-Identifier: Apache-2.0
"""A model's rescales on hardware: which block computes each, with which numbers, and how wide the blocks have to be."""

import dataclasses
from collections.abc import Sequence

from tflm_export.arithmetic import Narrow
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import POWERS_OF_TWO, Grid
from tflm_export.integer_part import integer_part
from tflm_export.lowering import lower
from tflm_export.program.aligned_sum import AlignedSum
from tflm_export.program.form import running
from tflm_export.program.passes import signed
from tflm_export.program.passes.ranges import Ranges
from tflm_export.program.pool import AveragePool
from tflm_export.program.program import Program, Step
from tflm_export.program.reduction import Mean
from tflm_export.rtl.accumulation import Accumulation, absent, accumulations, is_free
from tflm_export.rtl.coding import coding_of
from tflm_export.rtl.means import Averaged, MeanParameters, averaged
from tflm_export.rtl.parameters import Parameters, Wanted
from tflm_export.rtl.rescaled import Rescaled, rescaled
from tflm_export.rtl.sums import Sum, SumParameters, sum_of

Layer = Rescaled | Sum | Averaged
ANY = Wanted()


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """All that is needed to build and to fill the hardware.

    Attributes:
      parameters: of the rescaler.
      layers: what the blocks compute, in the order of the program.
      without: labels of the steps without a block, and why there is none.
      grid: of the rescaler's multipliers.
      sum_bits: of those of the block for sums.
    """

    parameters: Parameters
    layers: tuple[Layer, ...]
    without: tuple[tuple[str, str], ...]
    grid: Grid
    sum_bits: int

    @property
    def rescaled(self) -> tuple[Rescaled, ...]:
        """What the rescaler computes."""
        return tuple(layer for layer in self.layers if isinstance(layer, Rescaled))

    @property
    def sums(self) -> tuple[Sum, ...]:
        """What `narrow_add` computes."""
        return tuple(layer for layer in self.layers if isinstance(layer, Sum))

    @property
    def means(self) -> tuple[Averaged, ...]:
        """What `narrow_mean` computes."""
        return tuple(layer for layer in self.layers if isinstance(layer, Averaged))

    @property
    def sum_parameters(self) -> SumParameters:
        """Of the block for sums, where there are any."""
        return SumParameters.of(self.sums, self.sum_bits)

    @property
    def mean_parameters(self) -> MeanParameters:
        """Of the block for means, where there are any."""
        return MeanParameters.of(self.means)


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


def design(program: Program, grid: Grid, wanted: Wanted = ANY) -> Design:
    """The hardware for a program.

    Args:
      program: in the arithmetic `Narrow`, in int8 where it can be (`signed`).
      grid: of the widest multipliers that there are blocks for; steps with others have none.
      wanted: what the rescaler is to be.

    Raises:
      UsageError: a channel needs wider accumulators, or other shifts; nothing can be folded.
      ModelError: no step has a rescaler.
    """
    ranges, sum_bits = Ranges(program.main), _sum_bits(program, grid, wanted)
    found, without = [], []
    for step in program.main.steps:
        if is_free(step.form):
            continue
        parts = absent(step.form, grid) or _parts(step, ranges, sum_bits)
        if wanted.is_folded and not isinstance(parts, str) and any(map(_is_to_the_left, parts)):
            parts = "it shifts to the left, where a zero point cannot be part of the accumulator"
        if isinstance(parts, str):
            without.append((step.origin.label, parts))
        else:
            found += [(step, part) for part in parts]
    pairs = [(step, part) for step, part in found if isinstance(part, Accumulation)]
    if not pairs:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in without)
        raise ModelError(f"no rescale of the model is one that hardware for {grid} computes{reasons and ': '}{reasons}")
    own = _own_grid([part for _, part in pairs], grid, wanted)
    if wanted.is_folded and own != POWERS_OF_TWO:
        raise UsageError(
            "--rtl_folded makes rounding and zero point part of the accumulator, which takes multipliers of 1 bit, and "
            f"there are some of {own}; give --bits 1, or leave it out"
        )
    parameters, of_rescaler = rescaled(pairs, coding_of(own), wanted)
    numbered = iter(of_rescaler)
    layers = tuple(next(numbered) if isinstance(part, Accumulation) else part for _, part in found)
    return Design(parameters, layers, tuple(without), own, sum_bits)


def _is_to_the_left(part: Accumulation | Sum | Averaged) -> bool:
    return isinstance(part, Accumulation) and bool((coding_of(POWERS_OF_TWO).normalised(part.rescale).shift < 0).any())


def _own_grid(parts: Sequence[Accumulation], widest: Grid, wanted: Wanted) -> Grid:
    """That of the rescaler: sums may be of wider multipliers."""
    for grid in wanted.grids:
        if all(coding_of(grid).holds(part.rescale.multiplier).all() for part in parts):
            return grid
    return widest


def _sum_bits(program: Program, widest: Grid, wanted: Wanted) -> int:
    """The width of multipliers in the block for sums: rescales may be of wider ones."""
    steps = [step for step in program.main.steps if isinstance(step.form, AlignedSum) and not absent(step.form, widest)]
    steps = [step for step in steps if isinstance(sum_of(step, widest.bits), Sum)]
    every = sorted(grid.bits for grid in wanted.grids)
    fit = (bits for bits in every if all(isinstance(sum_of(step, bits), Sum) for step in steps))
    return next(fit, widest.bits)


def _parts(step: Step, ranges: Ranges, sum_bits: int) -> tuple[Accumulation | Sum | Averaged, ...] | str:
    """What blocks compute of a step, or why none does."""
    form, inputs = step.form, [ranges.of(value) for value in step.form.inputs]
    if isinstance(form, AlignedSum):
        found = sum_of(step, sum_bits)
        return found if isinstance(found, str) else (found,)
    if isinstance(form, Mean | AveragePool):
        found = averaged(step, int(inputs[0].low.min()), int(inputs[0].high.max()))
        return found if isinstance(found, str) else (found,)
    try:
        with running(step.origin.label):
            return accumulations(form, *inputs)
    except ModelError as error:
        return str(error.__cause__ or error)
