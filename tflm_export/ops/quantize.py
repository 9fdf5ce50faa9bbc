"""QUANTIZE from integers to integers: `y = Zy + Sx/Sy * (x - Zx)`. From float it is no rescale."""

from tflm_export import rescale
from tflm_export.ops.base import int8_problem, register
from tflm_export.ops.summed import SummedOp


@register("QUANTIZE")
class Quantize(SummedOp):
    """Change of scale, zero point or integer type."""

    def problem(self, operator):
        # A change of zero point alone, as from uint8 to int8 at a model's border, is on every grid in any type.
        if rescale.is_narrow(self.factors(operator), 1).all():
            return ""
        return int8_problem(*operator.inputs, *operator.outputs)
