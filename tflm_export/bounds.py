# SPDX-License-Identifier: Apache-2.0
"""The largest integers that an operator's rescales can meet, over all inputs of its tensors' types."""

import dataclasses

import numpy as np

from tflm_export.arithmetic import Narrow
from tflm_export.flatbuffer.model import Operator
from tflm_export.grid import Grid
from tflm_export.lowering import forms_of, lowering_problem
from tflm_export.program.form import Rescaling
from tflm_export.rescale import Rescale


@dataclasses.dataclass(frozen=True)
class WorstCase:
    """Bounds of the integers of some rescales.

    Attributes:
      accumulator: float64 [factors], largest |acc|.
      product: float64 [factors], largest |acc * m + rounding constant|.
    """

    accumulator: np.ndarray
    product: np.ndarray


@dataclasses.dataclass(frozen=True)
class AtWidth(Narrow):
    """Multipliers as hardware of the grid's width holds them, whatever their own."""

    def rescale(self, factor, is_wide=False):
        return self.grid.recover(factor)


def rescalings_of(operator: Operator, grid: Grid) -> tuple[Rescaling, ...]:
    """The rescales of an operator with multipliers of a grid; none where it has no integer form."""
    if lowering_problem(operator):
        return ()
    return tuple(rescaling for form in forms_of(operator, AtWidth(grid)) for rescaling in form.rescalings)


def worst_case(operator: Operator, grid: Grid) -> WorstCase | None:
    """Bounds with the multipliers of a grid; None where the operator has no integer form."""
    bounds = [_worst_case(rescaling) for rescaling in rescalings_of(operator, grid)]
    if not bounds:
        return None
    return WorstCase(*(np.concatenate([getattr(b, name) for b in bounds]) for name in ("accumulator", "product")))


def _worst_case(rescaling: Rescaling) -> WorstCase:
    held = rescaling.rescale
    assert isinstance(held, Rescale)  # as all of AtWidth are
    multiplier, shift = held.multiplier, held.shift
    if rescaling.is_aligned:  # to the largest shift, and summed before the one rounding
        common = shift.max()
        total = np.ldexp(rescaling.accumulator * multiplier, common - shift).sum() + np.ldexp(0.5, max(common, 0))
        return WorstCase(rescaling.accumulator, np.full(len(shift), total))
    product = np.atleast_1d(rescaling.accumulator * multiplier + np.ldexp(0.5, np.maximum(shift, 0)))
    return WorstCase(np.broadcast_to(rescaling.accumulator, product.shape), product)
