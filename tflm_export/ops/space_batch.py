# SPDX-License-Identifier: Apache-2.0
"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: interleaved parts of an image as rows of a batch, and back."""

import dataclasses
import math

from tflm_export.flatbuffer.model import Operator
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constant_of, constants_problem
from tflm_export.program.move import padded, regrouped, selected
from tflm_export.program.value import INTEGER_TYPES, value_of


class _SpaceBatch(DataMovement):
    """Inputs are tensor, sides of the blocks, and a border to add or to cut off."""

    min_inputs = 3
    run_inputs = 3

    def lowering_problem(self, operator):
        return constants_problem(operator, 1, 2)


@register("SPACE_TO_BATCH_ND")
class SpaceToBatchNd(_SpaceBatch):
    """Padded with the zero point, then one row for each element of a block.

    TFLM's kernel never sets the integer it pads with: its border is whatever the memory held before.
    """

    def lowering_problem(self, operator):
        kind = operator.inputs[0].type
        return super().lowering_problem(operator) or ("" if kind in INTEGER_TYPES else f"{kind} is not simulated")

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/space_to_batch_nd.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        sides, border = _blocks(operator)
        n, rest = len(sides), x.shape[1 + len(sides) :]
        lengths = [side + sum(ends) for side, ends in zip(x.shape[1:], border, strict=False)]
        whole = dataclasses.replace(value_of(y).part("padded"), shape=(x.shape[0], *lengths, *rest))
        fill = y.zero_point if y.is_quantized else 0
        before = [0, *(first for first, _ in border), *[0] * len(rest)]
        split = [size for length, side in zip(lengths, sides, strict=True) for size in (length // side, side)]
        order = [*range(2, 2 * n + 2, 2), 0, *range(1, 2 * n + 1, 2), *range(2 * n + 1, 2 * n + 1 + len(rest))]
        return (
            padded(value_of(x), whole, before, fill),
            regrouped(whole, value_of(y), [x.shape[0], *split, *rest], order),
        )


@register("BATCH_TO_SPACE_ND")
class BatchToSpaceNd(_SpaceBatch):
    """The inverse of SPACE_TO_BATCH_ND."""

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/batch_to_space_nd.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        sides, crops = _blocks(operator)
        n = len(sides)
        counts, rest = x.shape[1 : 1 + n], x.shape[1 + n :]
        rows = x.shape[0] // max(1, math.prod(sides))
        sizes = [count * side for count, side in zip(counts, sides, strict=True)]
        whole = dataclasses.replace(value_of(y).part("whole"), shape=(rows, *sizes, *rest))
        order = [n, *(axis for i in range(n) for axis in (n + 1 + i, i)), *range(2 * n + 1, 2 * n + 1 + len(rest))]
        inside = [range(before, size - after) for (before, after), size in zip(crops, sizes, strict=True)]
        return (
            regrouped(value_of(x), whole, [*sides, rows, *counts, *rest], order),
            selected(whole, value_of(y), [range(rows), *inside, *map(range, rest)]),
        )


def _blocks(operator: Operator) -> tuple[list[int], list[tuple[int, int]]]:
    """Sides of the blocks, and the border before and behind each axis."""
    sides, border = (constant_of(operator.inputs[position]) for position in (1, 2))
    if min(sides, default=1) < 1 or len(border) != 2 * len(sides) or len(sides) >= len(operator.inputs[0].shape):
        raise ValueError(f"blocks of {sides} with a border of {border} do not fit its input")
    return sides, list(zip(border[::2], border[1::2], strict=True))
