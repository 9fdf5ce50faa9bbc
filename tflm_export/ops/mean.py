"""MEAN: `y = Zy + Sx/Sy * (sum(x - Zx) / count)`."""

import math

from tflm_export.ops.base import register
from tflm_export.ops.summed import SummedOp


@register("MEAN")
class Mean(SummedOp):
    """Mean over axes. Its rescale is Sx/Sy; the division by the count is the operator's own, as in pooling."""

    def terms(self, operator):
        return operator.inputs[:1]

    def count(self, operator):
        elements, means = (math.prod(t.shape) for t in (operator.inputs[0], operator.outputs[0]))
        return min(max(1, elements // max(1, means)), 2**31)
