"""RESHAPE, SQUEEZE and EXPAND_DIMS: the same elements in another shape."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement


@register("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
class Reshape(DataMovement):
    """The output's shape is taken from the file."""

    def run(self, operator, inputs, context):
        return [inputs[0].reshape(context.shape(operator.outputs[0]))]
