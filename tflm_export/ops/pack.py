"""PACK and UNPACK: tensors put together along a new axis, and taken apart."""

import numpy as np

from tflm_export.flatbuffer.options import PackOptions, UnpackOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of


@register("PACK")
class Pack(DataMovement):
    """LiteRT refuses unequal scales; TFLM copies the integers all the same."""

    def run(self, operator, inputs, context):
        """Source: Pack in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        if context.rows:
            inputs = [np.broadcast_to(x, (context.rows, *x.shape[1:])) for x in inputs]
        return [np.stack(inputs, self._axis(operator))]

    def _axis(self, operator) -> int:
        return axis_of(operator.option(PackOptions.AXIS), len(operator.outputs[0].shape))

    def simulation_problem(self, operator):
        return "its inputs must not be left out" if None in operator.inputs else ""

    def mixes_rows(self, operator):
        return operator.option(PackOptions.AXIS) % max(1, len(operator.outputs[0].shape)) == 0


@register("UNPACK")
class Unpack(DataMovement):
    """The slices along an axis, each an output."""

    def run(self, operator, inputs, context):
        """Source: Unpack in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        (x,) = inputs
        axis = axis_of(operator.option(UnpackOptions.AXIS), x.ndim)
        return list(np.moveaxis(x, axis, 0))

    def mixes_rows(self, operator):
        return operator.option(UnpackOptions.AXIS) % max(1, len(operator.inputs[0].shape)) == 0
