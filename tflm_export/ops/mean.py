# SPDX-License-Identifier: Apache-2.0
"""MEAN: `y = Zy + Sx/Sy * (sum(x - Zx) / count)`."""

from tflm_export import rescale
from tflm_export.ops.activations import target_of
from tflm_export.ops.base import register
from tflm_export.ops.reduction import reduced_axes, reduction_problem
from tflm_export.ops.summed import SummedOp
from tflm_export.program.value import value_of


@register("MEAN")
class Mean(SummedOp):
    """Mean over axes. Its rescale is Sx/Sy; the division by the count is the operator's own, as in pooling.

    Narrow kernels divide `sum * m` by `count * 2**s` and round once; the stock ones divide the multiplier.
    """

    run_inputs = 2

    def lower(self, operator, arithmetic):
        """Source: QuantizedMeanOrSum in tensorflow/lite/kernels/internal/reference/reduce.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        factor = rescale.effective_scale(x.scale, 1.0, y.scale)
        return (arithmetic.mean(value_of(x), reduced_axes(operator), x.zero_point, factor, target_of(y)),)

    def lowering_problem(self, operator):
        return reduction_problem(operator)
