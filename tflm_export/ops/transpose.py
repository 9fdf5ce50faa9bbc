"""TRANSPOSE: the dimensions in another order."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement


@register("TRANSPOSE")
class Transpose(DataMovement):
    """The order is its second input."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        return [inputs[0].transpose(inputs[1].reshape(-1).tolist())]

    def mixes_rows(self, operator):
        order = operator.inputs[1].data
        return order is None or order.reshape(-1)[:1].tolist() != [0]
