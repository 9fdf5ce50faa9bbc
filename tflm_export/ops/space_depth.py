"""SPACE_TO_DEPTH and DEPTH_TO_SPACE: square blocks of an image as channels of one element, and back."""

from tflm_export.flatbuffer.options import DepthToSpaceOptions, SpaceToDepthOptions
from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement


class _SpaceDepth(DataMovement):
    def simulation_problem(self, operator):
        rank = len(operator.inputs[0].shape)
        return "" if rank == 4 else f"an input of {rank} dimensions is not simulated"


@register("SPACE_TO_DEPTH")
class SpaceToDepth(_SpaceDepth):
    """Blocks in row-major order, each element's channels together."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/space_to_depth.h."""
        rows, height, width, depth = inputs[0].shape
        side = operator.option(SpaceToDepthOptions.BLOCK_SIZE)
        blocks = inputs[0].reshape(rows, height // side, side, width // side, side, depth)
        return [blocks.transpose(0, 1, 3, 2, 4, 5).reshape(rows, height // side, width // side, side * side * depth)]


@register("DEPTH_TO_SPACE")
class DepthToSpace(_SpaceDepth):
    """The inverse of SPACE_TO_DEPTH."""

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/depth_to_space.h."""
        rows, height, width, depth = inputs[0].shape
        side = operator.option(DepthToSpaceOptions.BLOCK_SIZE)
        blocks = inputs[0].reshape(rows, height, width, side, side, depth // (side * side))
        return [blocks.transpose(0, 1, 3, 2, 4, 5).reshape(rows, height * side, width * side, -1)]
