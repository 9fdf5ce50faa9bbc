"""PAD and PADV2: a border of the zero point, or of a given integer."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.context import INTEGER_TYPES
from tflm_export.ops.data_movement import DataMovement


@register("PAD", "PADV2")
class Pad(DataMovement):
    """Constant padding."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/pad.h."""
        x, border, *value = inputs
        y = operator.outputs[0]
        fill = value[0].reshape(-1)[0] if value else y.zero_point if y.is_quantized else 0
        return [np.pad(x, border.reshape(-1, 2).tolist(), constant_values=fill)]

    def simulation_problem(self, operator):
        if operator.inputs[1].data is None or (operator.inputs[1].data < 0).any():
            return "paddings that are not constant, or negative, are not simulated"
        return "" if operator.inputs[0].type in INTEGER_TYPES else f"{operator.inputs[0].type} is not simulated"
