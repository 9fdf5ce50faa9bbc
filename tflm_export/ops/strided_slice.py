"""STRIDED_SLICE: a regular part of a tensor."""

from tflm_export.flatbuffer.options import StridedSliceOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement


@register("STRIDED_SLICE")
class StridedSlice(DataMovement):
    """Python's slices: negative positions count from the end, positions outside are clamped."""

    run_inputs = 4

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/strided_slice_logic.h."""
        x, begin, end, strides = inputs
        begins, ends, shrinks = self._masks(operator)
        where = []
        for axis, (first, last, stride) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
            bit = 1 << axis
            if context.rows and axis == 0:
                where.append(slice(None))
            elif shrinks & bit:
                where.append(first)
            else:
                where.append(slice(None if begins & bit else first, None if ends & bit else last, stride))
        return [x[tuple(where)]]

    def _masks(self, operator) -> tuple[int, int, int]:
        fields = (StridedSliceOptions.BEGIN_MASK, StridedSliceOptions.END_MASK, StridedSliceOptions.SHRINK_AXIS_MASK)
        return tuple(operator.option(field) for field in fields)

    def simulation_problem(self, operator):
        for field in (StridedSliceOptions.ELLIPSIS_MASK, StridedSliceOptions.NEW_AXIS_MASK, StridedSliceOptions.OFFSET):
            if operator.option(field):
                return f"its option {field.name} is not simulated"
        return ""

    def mixes_rows(self, operator):
        return bool(self._masks(operator)[2] & 1) or any(t.data is None for t in operator.inputs[1:])
