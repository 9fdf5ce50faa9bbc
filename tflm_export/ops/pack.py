# SPDX-License-Identifier: Apache-2.0
"""PACK and UNPACK: tensors put together along a new axis, and taken apart."""

from tflm_export.flatbuffer.options import PackOptions, UnpackOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, axis_of
from tflm_export.program.move import joined, parts
from tflm_export.program.value import value_of


@register("PACK")
class Pack(DataMovement):
    """LiteRT refuses unequal scales; TFLM copies the integers all the same."""

    def lower(self, operator, arithmetic):
        """Source: Pack in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        y = value_of(operator.outputs[0])
        axis = axis_of(operator.option(PackOptions.AXIS), len(y.shape))
        return (joined([value_of(t) for t in operator.inputs], y, axis),)

    def lowering_problem(self, operator):
        return "its inputs must not be left out" if None in operator.inputs else ""


@register("UNPACK")
class Unpack(DataMovement):
    """The slices along an axis, each an output."""

    def lower(self, operator, arithmetic):
        """Source: Unpack in tensorflow/lite/kernels/internal/reference/reference_ops.h."""
        x = value_of(operator.inputs[0])
        axis = axis_of(operator.option(UnpackOptions.AXIS), len(x.shape))
        return parts(x, [value_of(t) for t in operator.outputs], axis, [1] * x.shape[axis])
