"""SLICE: a block of a tensor; DYNAMIC_UPDATE_SLICE: a block of a tensor replaced."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constant_integers


@register("SLICE")
class Slice(DataMovement):
    """Inputs are tensor, first element and size of the block; a size of -1 goes to the end."""

    min_inputs = 3
    run_inputs = 3

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/slice.h."""
        x, begin, size = inputs
        where = []
        for axis, (first, count) in enumerate(zip(begin.reshape(-1).tolist(), size.reshape(-1).tolist(), strict=True)):
            end = x.shape[axis] if count == -1 else first + count
            if not 0 <= first <= end <= x.shape[axis]:
                raise ValueError(f"elements {first} to {end} of {x.shape[axis]}")
            where.append(slice(None) if context.rows and axis == 0 else slice(first, end))
        return [x[tuple(where)]]

    def mixes_rows(self, operator):
        begin, size = (constant_integers(operator, position) for position in (1, 2))
        return not begin or not size or begin[0] != 0 or size[0] not in (1, -1)


@register("DYNAMIC_UPDATE_SLICE")
class DynamicUpdateSlice(DataMovement):
    """Inputs are tensor, block and the block's first element, which is moved so that the block fits."""

    min_inputs = 3
    run_inputs = 3

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/dynamic_update_slice.cc."""
        x, block, begin = inputs
        result = x.copy()
        where = []
        for side, length, first in zip(x.shape, block.shape, begin.reshape(-1).tolist(), strict=True):
            first = min(max(first, 0), max(side - length, 0))
            where.append(slice(first, first + length))
        result[tuple(where)] = block
        return [result]

    def mixes_rows(self, operator):
        return True
