# SPDX-License-Identifier: Apache-2.0
"""SHAPE: the dimensions of a tensor."""

import dataclasses

import numpy as np

from tflm_export.ops.base import Op, register
from tflm_export.program.move import same
from tflm_export.program.value import value_of


@register("SHAPE")
class Shape(Op):
    """The dimensions, as the file says."""

    min_inputs = 1

    def lower(self, operator, arithmetic):
        y = value_of(operator.outputs[0])
        dimensions = np.array(operator.inputs[0].shape, y.dtype)
        constant = dataclasses.replace(y, key=(y.key, "constant"), shape=dimensions.shape, data=dimensions)
        return (same(constant, y),)

    def lowering_problem(self, operator):
        return "" if operator.outputs[0].type in ("INT32", "INT64") else "its output is no INT32 or INT64"
