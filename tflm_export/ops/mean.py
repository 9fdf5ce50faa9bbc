"""MEAN: `y = Zy + Sx/Sy * (sum(x - Zx) / count)`."""

import math

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.options import ReducerOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.base import register
from tflm_export.ops.context import Rounding, centred, emit
from tflm_export.ops.summed import SummedOp


@register("MEAN")
class Mean(SummedOp):
    """Mean over axes. Its rescale is Sx/Sy; the division by the count is the operator's own, as in pooling."""

    run_inputs = 2

    def count(self, operator):
        elements, means = (math.prod(t.shape) for t in (operator.inputs[0], operator.outputs[0]))
        return min(max(1, elements // max(1, means)), 2**31)

    def run(self, operator, inputs, context):
        """Narrow kernels divide `sum * m` by `count * 2**s` and round once; the stock ones divide the multiplier.

        Source: QuantizedMeanOrSum in tensorflow/lite/kernels/internal/reference/reduce.h.
        """
        x, y = operator.inputs[0], operator.outputs[0]
        axes = _axes(x, inputs[1])
        total = centred(x, inputs[0]).sum(axes, keepdims=bool(operator.option(ReducerOptions.KEEP_DIMS, UINT8)))
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
        x, y = operator.inputs[0], operator.outputs[0]
        if len(operator.inputs) < 2 or operator.inputs[1] is None or operator.inputs[1].data is None:
            return "axes that are not constant are not simulated"
        if x.type not in ("INT8", "UINT8", "INT16") or y.type != x.type or None in (x.quantization, y.quantization):
            return f"{x.type} to {y.type} is not simulated"
        return ""

    def mixes_rows(self, operator):
        return 0 in _axes(operator.inputs[0], operator.inputs[1].data)


def _axes(x, axes: np.ndarray) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front, each once."""
    return tuple(sorted({int(axis) % max(1, len(x.shape)) for axis in axes.reshape(-1)}))


def _divided(stock: rescale.Rescale, count: int) -> rescale.Rescale:
    """The 31-bit factor over a count, truncated, with as many more bits as the count has."""
    shift = min(count.bit_length() - 1, 32, 62 - int(stock.shift))
    return rescale.Rescale((stock.multiplier << shift) // count, stock.shift + shift)
