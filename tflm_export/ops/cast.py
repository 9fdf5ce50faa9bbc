# SPDX-License-Identifier: Apache-2.0
"""CAST: numbers in another type, without a look at scales."""

from tflm_export.ops.base import Op, one, register
from tflm_export.program.convert import Cast as CastForm
from tflm_export.program.value import INTEGER_TYPES


@register("CAST")
class Cast(Op):
    """Integers are cut to their low bits. Scales stay as they are: the output has the bare integers."""

    min_inputs = 1

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/cast.cc."""
        return one(CastForm, operator, operator.inputs[:1])

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in INTEGER_TYPES or y.type not in (*INTEGER_TYPES, "FLOAT32"):
            return f"{x.type} to {y.type} is not simulated"
        return ""
