# SPDX-License-Identifier: Apache-2.0
"""RESHAPE, SQUEEZE and EXPAND_DIMS: the same elements in another shape."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.program.move import same
from tflm_export.program.value import value_of


@register("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
class Reshape(DataMovement):
    """The output's shape is taken from the file."""

    def lower(self, operator, arithmetic):
        return (same(value_of(operator.inputs[0]), value_of(operator.outputs[0])),)
