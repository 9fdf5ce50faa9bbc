# SPDX-License-Identifier: Apache-2.0
"""STRIDED_SLICE: a regular part of a tensor."""

from tflm_export.flatbuffer.options import StridedSliceOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constant_of, constants_problem
from tflm_export.program.move import selected
from tflm_export.program.value import value_of


@register("STRIDED_SLICE")
class StridedSlice(DataMovement):
    """Python's slices: negative positions count from the end, positions outside are clamped."""

    run_inputs = 4

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/strided_slice_logic.h."""
        x, *bounds = operator.inputs[:4]
        fields = (StridedSliceOptions.BEGIN_MASK, StridedSliceOptions.END_MASK, StridedSliceOptions.SHRINK_AXIS_MASK)
        begins, ends, shrinks = (operator.option(field) for field in fields)
        positions = [range(side) for side in x.shape]
        for axis, (first, last, stride) in enumerate(zip(*map(constant_of, bounds), strict=True)):
            bit, side = 1 << axis, x.shape[axis]
            if shrinks & bit:
                positions[axis] = range(side)[first % side : first % side + 1] if -side <= first < side else range(0)
            else:
                where = slice(None if begins & bit else first, None if ends & bit else last, stride)
                positions[axis] = range(side)[where]
        return (selected(value_of(x), value_of(operator.outputs[0]), positions),)

    def lowering_problem(self, operator):
        for field in (StridedSliceOptions.ELLIPSIS_MASK, StridedSliceOptions.NEW_AXIS_MASK, StridedSliceOptions.OFFSET):
            if operator.option(field):
                return f"its option {field.name} is not simulated"
        return constants_problem(operator, 1, 2, 3)
