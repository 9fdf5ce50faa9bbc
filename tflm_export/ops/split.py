"""SPLIT and SPLIT_V: a tensor cut into parts along an axis."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement


class _SplitBase(DataMovement):
    axis_input = 0

    def _axis(self, operator, axis: np.ndarray) -> int:
        return int(axis.reshape(-1)[0]) % len(operator.outputs[0].shape)

    def simulation_problem(self, operator):
        return "" if operator.inputs[self.axis_input].is_constant else "an axis that is not constant is not simulated"

    def mixes_rows(self, operator):
        return self._axis(operator, operator.inputs[self.axis_input].data) == 0


@register("SPLIT")
class Split(_SplitBase):
    """Equal parts; inputs are axis and tensor."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        axis, x = inputs
        return np.split(x, len(operator.outputs), self._axis(operator, axis))


@register("SPLIT_V")
class SplitV(_SplitBase):
    """Parts of given sizes; inputs are tensor, sizes (one of them may be -1) and axis."""

    run_inputs = 3
    axis_input = 2

    def run(self, operator, inputs, context):
        x, sizes, axis = inputs
        axis, sizes = self._axis(operator, axis), sizes.reshape(-1).astype(np.int64)
        sizes = np.where(sizes < 0, x.shape[axis] - sizes[sizes >= 0].sum(), sizes)
        return np.split(x, np.cumsum(sizes)[:-1], axis)
