# SPDX-License-Identifier: Apache-2.0
"""PAD and PADV2: a border of the zero point, or of a given integer."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.program.move import padded
from tflm_export.program.value import INTEGER_TYPES, value_of


@register("PAD", "PADV2")
class Pad(DataMovement):
    """Constant padding."""

    run_inputs = 2

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/pad.h."""
        x, y, border = operator.inputs[0], operator.outputs[0], operator.inputs[1].data.reshape(-1, 2)
        fill = (y.zero_point if y.is_quantized else 0) if len(operator.inputs) < 3 else None
        if fill is None:
            fill = int(operator.inputs[2].data.reshape(-1)[0])
        if len(border) != len(x.shape) or (border.sum(1) + x.shape != y.shape).any():
            raise ValueError(f"{list(x.shape)} with a border of {border.tolist()} is no {list(y.shape)}")
        return (padded(value_of(x), value_of(y), border[:, 0].tolist(), fill),)

    def lowering_problem(self, operator):
        if operator.inputs[1].data is None or (operator.inputs[1].data < 0).any():
            return "paddings that are not constant, or negative, are not simulated"
        if len(operator.inputs) > 2 and (operator.inputs[2] is None or operator.inputs[2].data is None):
            return "a padding value that is not constant is not simulated"
        return "" if operator.inputs[0].type in INTEGER_TYPES else f"{operator.inputs[0].type} is not simulated"
