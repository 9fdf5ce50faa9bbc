# SPDX-License-Identifier: Apache-2.0
"""ARG_MAX and ARG_MIN: where along an axis the largest or smallest integer stands, the first of equals."""

from tflm_export.ops.base import one, register
from tflm_export.ops.data_movement import axis_of, constant_integers, constants_problem
from tflm_export.ops.fixed import FixedFunction
from tflm_export.program.reduction import Position
from tflm_export.program.value import INTEGER_TYPES


class _ArgExtremum(FixedFunction):
    """Inputs are tensor and axis."""

    min_inputs = 2
    run_inputs = 2
    is_largest = True

    def lowering_problem(self, operator):
        x, y = operator.inputs[0], operator.outputs[0]
        if x.type not in (*INTEGER_TYPES, "FLOAT32") or y.type not in ("INT32", "INT64"):
            return f"{x.type} to {y.type} is not simulated"
        return constants_problem(operator, 1)

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/arg_min_max.h."""
        axis = axis_of((constant_integers(operator, 1) or [0])[0], len(operator.inputs[0].shape))
        return one(Position, operator, operator.inputs[:1], axes=(axis,), is_largest=self.is_largest)


@register("ARG_MAX")
class ArgMax(_ArgExtremum):
    """The largest."""


@register("ARG_MIN")
class ArgMin(_ArgExtremum):
    """The smallest."""

    is_largest = False
