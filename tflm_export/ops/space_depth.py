# SPDX-License-Identifier: Apache-2.0
"""SPACE_TO_DEPTH and DEPTH_TO_SPACE: square blocks of an image as channels of one element, and back."""

from tflm_export.flatbuffer.options import DepthToSpaceOptions, SpaceToDepthOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.program.move import regrouped
from tflm_export.program.value import value_of


class _SpaceDepth(DataMovement):
    def lowering_problem(self, operator):
        rank = len(operator.inputs[0].shape)
        return "" if rank == 4 else f"an input of {rank} dimensions is not simulated"


@register("SPACE_TO_DEPTH")
class SpaceToDepth(_SpaceDepth):
    """Blocks in row-major order, each element's channels together."""

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/space_to_depth.h."""
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        rows, height, width, depth = x.shape
        side = operator.option(SpaceToDepthOptions.BLOCK_SIZE)
        split = (rows, height // side, side, width // side, side, depth)
        return (regrouped(x, y, split, (0, 1, 3, 2, 4, 5)),)


@register("DEPTH_TO_SPACE")
class DepthToSpace(_SpaceDepth):
    """The inverse of SPACE_TO_DEPTH."""

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/depth_to_space.h."""
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        rows, height, width, depth = x.shape
        side = operator.option(DepthToSpaceOptions.BLOCK_SIZE)
        split = (rows, height, width, side, side, depth // (side * side))
        return (regrouped(x, y, split, (0, 1, 3, 2, 4, 5)),)
