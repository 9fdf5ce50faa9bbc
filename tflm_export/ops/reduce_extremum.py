"""REDUCE_MAX and REDUCE_MIN: the largest or smallest integer over axes."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.ops.reduction import keeps_dimensions, reduced_axes, reduces_rows, reduction_problem


class _ReduceExtremum(DataMovement):
    """The kernels of LiteRT and TFLM refuse unequal scales when they run; only XNNPACK takes them."""

    unequal_reason = "its input and output have unequal scales, which neither LiteRT's nor TFLM's own kernel takes"
    run_inputs = 2

    def simulation_problem(self, operator):
        tensors = (operator.inputs[0], operator.outputs[0])
        problem = reduction_problem(operator)
        if not problem and len({(t.scale, t.zero_point) for t in tensors}) > 1:
            return self.unequal_reason
        return problem

    def mixes_rows(self, operator):
        return reduces_rows(operator)

    def _reduced(self, function, operator, inputs) -> list[np.ndarray]:
        axes = reduced_axes(operator.inputs[0], inputs[1])
        return [function(inputs[0], axis=axes, keepdims=keeps_dimensions(operator))]


@register("REDUCE_MAX")
class ReduceMax(_ReduceExtremum):
    """Source: EvalGeneric in tensorflow/lite/kernels/reduce.cc."""

    def run(self, operator, inputs, context):
        return self._reduced(np.max, operator, inputs)


@register("REDUCE_MIN")
class ReduceMin(_ReduceExtremum):
    """Source: EvalGeneric in tensorflow/lite/kernels/reduce.cc."""

    def run(self, operator, inputs, context):
        return self._reduced(np.min, operator, inputs)
