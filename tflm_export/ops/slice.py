# SPDX-License-Identifier: Apache-2.0
"""SLICE: a block of a tensor; DYNAMIC_UPDATE_SLICE: a block of a tensor replaced."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import POSITION_TYPES, DataMovement, constant_of, constants_problem
from tflm_export.program.gather import Update
from tflm_export.program.move import selected
from tflm_export.program.value import value_of


@register("SLICE")
class Slice(DataMovement):
    """Inputs are tensor, first element and size of the block; a size of -1 goes to the end."""

    min_inputs = 3
    run_inputs = 3

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/slice.h."""
        x, begin, size = operator.inputs
        positions = []
        for side, first, count in zip(x.shape, constant_of(begin), constant_of(size), strict=True):
            end = side if count == -1 else first + count
            if not 0 <= first <= end <= side:
                raise ValueError(f"elements {first} to {end} of {side}")
            positions.append(range(first, end))
        return (selected(value_of(x), value_of(operator.outputs[0]), positions),)

    def lowering_problem(self, operator):
        return constants_problem(operator, 1, 2)


@register("DYNAMIC_UPDATE_SLICE")
class DynamicUpdateSlice(DataMovement):
    """Inputs are tensor, block and the block's first element, which is moved so that the block fits."""

    min_inputs = 3
    run_inputs = 3

    def lower(self, operator, arithmetic):
        x, block, begin = map(value_of, operator.inputs[:3])
        if len(block.shape) != len(x.shape) or any(b > a for a, b in zip(x.shape, block.shape, strict=True)):
            raise ValueError(f"a block of {list(block.shape)} does not fit into {list(x.shape)}")
        return (Update(inputs=(x, block, begin), outputs=(value_of(operator.outputs[0]),)),)

    def lowering_problem(self, operator):
        x, block, begin = operator.inputs[:3]
        if begin.type not in POSITION_TYPES:
            return f"positions of type {begin.type} are not simulated"
        return "" if block.type == x.type else f"a block of {block.type} in a tensor of {x.type} is not simulated"
