"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: interleaved parts of an image as rows of a batch, and back."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constants_problem


class _SpaceBatch(DataMovement):
    """Inputs are tensor, sides of the blocks, and a border to add or to cut off."""

    min_inputs = 3
    run_inputs = 3

    def simulation_problem(self, operator):
        return constants_problem(operator, 1, 2)

    def mixes_rows(self, operator):
        return True


@register("SPACE_TO_BATCH_ND")
class SpaceToBatchNd(_SpaceBatch):
    """Padded with the zero point, then one row for each element of a block.

    TFLM's kernel never sets the integer it pads with: its border is whatever the memory held before.
    """

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/space_to_batch_nd.h."""
        x, sides, border = inputs[0], inputs[1].reshape(-1).tolist(), inputs[2].reshape(-1, 2).tolist()
        y, n = operator.outputs[0], len(sides)
        rest = x.shape[1 + n :]
        fill = y.zero_point if y.is_quantized else 0
        padded = np.pad(x, [(0, 0), *border, *[(0, 0)] * len(rest)], constant_values=fill)
        counts = [length // side for length, side in zip(padded.shape[1:], sides, strict=False)]
        split = [size for pair in zip(counts, sides, strict=True) for size in pair]
        blocks = padded.reshape(len(x), *split, *rest)
        order = [*range(2, 2 * n + 2, 2), 0, *range(1, 2 * n + 1, 2), *range(2 * n + 1, blocks.ndim)]
        return [blocks.transpose(order).reshape(-1, *counts, *rest)]


@register("BATCH_TO_SPACE_ND")
class BatchToSpaceNd(_SpaceBatch):
    """The inverse of SPACE_TO_BATCH_ND."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/batch_to_space_nd.h."""
        x, sides, crops = inputs[0], inputs[1].reshape(-1).tolist(), inputs[2].reshape(-1, 2).tolist()
        n = len(sides)
        counts, rest = x.shape[1 : 1 + n], x.shape[1 + n :]
        blocks = x.reshape(*sides, -1, *counts, *rest)
        order = [n, *(axis for i in range(n) for axis in (n + 1 + i, i)), *range(2 * n + 1, blocks.ndim)]
        sizes = [count * side for count, side in zip(counts, sides, strict=True)]
        whole = blocks.transpose(order).reshape(-1, *sizes, *rest)
        inside = [slice(before, size - after) for (before, after), size in zip(crops, sizes, strict=True)]
        return [whole[(slice(None), *inside)]]
