# SPDX-License-Identifier: Apache-2.0
"""TRANSPOSE: the dimensions in another order."""

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement, constant_of, constants_problem
from tflm_export.program.move import regrouped
from tflm_export.program.value import value_of


@register("TRANSPOSE")
class Transpose(DataMovement):
    """The order is its second input."""

    run_inputs = 2

    def lower(self, operator, arithmetic):
        x, y = value_of(operator.inputs[0]), value_of(operator.outputs[0])
        rank = len(x.shape)
        return (
            regrouped(x, y, x.shape, [axis + rank if axis < 0 else axis for axis in constant_of(operator.inputs[1])]),
        )

    def lowering_problem(self, operator):
        return constants_problem(operator, 1)
