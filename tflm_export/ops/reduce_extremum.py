# SPDX-License-Identifier: Apache-2.0
"""REDUCE_MAX and REDUCE_MIN: the largest or smallest integer over axes."""

from tflm_export.ops.base import one, register
from tflm_export.ops.data_movement import DataMovement
from tflm_export.ops.reduction import reduced_axes, reduction_problem
from tflm_export.program.reduction import Extreme


class _ReduceExtremum(DataMovement):
    """The kernels of LiteRT and TFLM refuse unequal scales when they run; only XNNPACK takes them."""

    unequal_reason = "its input and output have unequal scales, which neither LiteRT's nor TFLM's own kernel takes"
    run_inputs = 2
    is_largest = True

    def lower(self, operator, arithmetic):
        """Source: EvalGeneric in tensorflow/lite/kernels/reduce.cc."""
        return one(Extreme, operator, operator.inputs[:1], axes=reduced_axes(operator), is_largest=self.is_largest)

    def lowering_problem(self, operator):
        tensors = (operator.inputs[0], operator.outputs[0])
        problem = reduction_problem(operator)
        if not problem and len({(t.scale, t.zero_point) for t in tensors}) > 1:
            return self.unequal_reason
        return problem


@register("REDUCE_MAX")
class ReduceMax(_ReduceExtremum):
    """The largest."""


@register("REDUCE_MIN")
class ReduceMin(_ReduceExtremum):
    """The smallest."""

    is_largest = False
