"""MEAN: `y = Zy + Sx/Sy * (sum(x - Zx) / count)`."""

import math

from tflm_export import rescale
from tflm_export.ops.base import register
from tflm_export.ops.context import Rounding, centred, emit
from tflm_export.ops.reduction import keeps_dimensions, reduced_axes, reduced_count, reduces_rows, reduction_problem
from tflm_export.ops.summed import SummedOp


@register("MEAN")
class Mean(SummedOp):
    """Mean over axes. Its rescale is Sx/Sy; the division by the count is the operator's own, as in pooling."""

    run_inputs = 2

    def count(self, operator):
        return reduced_count(operator)

    def run(self, operator, inputs, context):
        """Narrow kernels divide `sum * m` by `count * 2**s` and round once; the stock ones divide the multiplier.

        Source: QuantizedMeanOrSum in tensorflow/lite/kernels/internal/reference/reduce.h.
        """
        x, y = operator.inputs[0], operator.outputs[0]
        axes = reduced_axes(x, inputs[1])
        total = centred(x, inputs[0]).sum(axes, keepdims=keeps_dimensions(operator))
        count = math.prod(inputs[0].shape[axis] for axis in axes)
        factor = rescale.effective_scale(x.scale, 1.0, y.scale)
        if context.rounding is Rounding.NARROW:
            recovered = context.narrow_factors(factor)
            left = max(-int(recovered.shift), 0)
            divisor = count << (int(recovered.shift) + left)
            integers = (2 * total * (int(recovered.multiplier) << left) + divisor) // (2 * divisor)
        else:
            integers = context.rescale_stock(total, _divided(rescale.quantize_multiplier(factor), count))
        return [emit(y, integers)]

    def simulation_problem(self, operator):
        return reduction_problem(operator)

    def mixes_rows(self, operator):
        return reduces_rows(operator)


def _divided(stock: rescale.Rescale, count: int) -> rescale.Rescale:
    """The 31-bit factor over a count, truncated, with as many more bits as the count has."""
    shift = min(count.bit_length() - 1, 32, 62 - int(stock.shift))
    return rescale.Rescale((stock.multiplier << shift) // count, stock.shift + shift)
