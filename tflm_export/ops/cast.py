"""CAST: numbers in another type, without a look at scales."""

from tflm_export.ops.base import Op, register
from tflm_export.ops.context import INTEGER_TYPES, dtype_of


@register("CAST")
class Cast(Op):
    """Integers are cut to their low bits. Scales stay as they are: the output has the bare integers."""

    min_inputs = 1

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/cast.cc."""
        return [inputs[0].astype(dtype_of(operator.outputs[0]))]

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in INTEGER_TYPES or y.type not in (*INTEGER_TYPES, "FLOAT32"):
            return f"{x.type} to {y.type} is not simulated"
        return ""
