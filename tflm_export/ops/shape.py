"""SHAPE: the dimensions of a tensor."""

import numpy as np

from tflm_export.ops.base import Op, register
from tflm_export.ops.context import dtype_of


@register("SHAPE")
class Shape(Op):
    """The dimensions."""

    min_inputs = 1

    def run(self, operator, inputs, context):
        return [np.array(inputs[0].shape, dtype_of(operator.outputs[0]))]

    def simulation_problem(self, operator):
        return "" if operator.outputs[0].type in ("INT32", "INT64") else "its output is no INT32 or INT64"

    def mixes_rows(self, operator):
        return True
