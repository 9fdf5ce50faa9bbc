"""ARG_MAX and ARG_MIN: where along an axis the largest or smallest integer stands, the first of equals."""

import numpy as np

from tflm_export.ops.base import register
from tflm_export.ops.context import INTEGER_TYPES, dtype_of
from tflm_export.ops.data_movement import axis_of, constant_integers, constants_problem
from tflm_export.ops.fixed import FixedFunction


class _ArgExtremum(FixedFunction):
    """Inputs are tensor and axis."""

    min_inputs = 2
    run_inputs = 2

    def simulation_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in (*INTEGER_TYPES, "FLOAT32") or y.type not in ("INT32", "INT64"):
            return f"{x.type} to {y.type} is not simulated"
        return constants_problem(operator, 1)

    def _axis(self, operator, rank: int) -> int:
        return axis_of((constant_integers(operator, 1) or [0])[0], rank)

    def mixes_rows(self, operator):
        rank = max(1, len(operator.inputs[0].shape))
        return (constant_integers(operator, 1) or [0])[0] % rank == 0


@register("ARG_MAX")
class ArgMax(_ArgExtremum):
    """Source: tensorflow/lite/kernels/internal/reference/arg_min_max.h."""

    def run(self, operator, inputs, context):
        return [np.argmax(inputs[0], self._axis(operator, inputs[0].ndim)).astype(dtype_of(operator.outputs[0]))]


@register("ARG_MIN")
class ArgMin(_ArgExtremum):
    """Source: tensorflow/lite/kernels/internal/reference/arg_min_max.h."""

    def run(self, operator, inputs, context):
        return [np.argmin(inputs[0], self._axis(operator, inputs[0].ndim)).astype(dtype_of(operator.outputs[0]))]
