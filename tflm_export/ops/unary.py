# SPDX-License-Identifier: Apache-2.0
"""What functions of one value share: a rescale from Sx to Sy."""

from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import Operator
from tflm_export.ops.activations import clamp_of
from tflm_export.ops.base import activation_problem
from tflm_export.ops.summed import SummedOp
from tflm_export.program.requantize import Requantize
from tflm_export.program.value import value_of


class Unary(SummedOp):
    """Base of operators that rescale one value.

    Attributes:
      types: of the activations.
    """

    types = ("INT8", "INT16")

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0], types=self.types)

    def lowering_problem(self, operator):
        tensors = (*operator.inputs[: self.run_inputs], *operator.outputs)
        types = {t.type for t in tensors}
        if len(types) != 1 or not types <= set(self.types) or not all(t.is_quantized for t in tensors):
            return f"{' and '.join(sorted(types))} operands are not simulated"
        return ""


def requantize(operator: Operator, arithmetic: Arithmetic, activation: str = "NONE") -> Requantize:
    """The rescale from Sx to Sy, clamped."""
    x, y = operator.inputs[0], operator.outputs[0]
    return Requantize(
        inputs=(value_of(x),),
        outputs=(value_of(y),),
        input_zero_point=x.zero_point,
        rescale=arithmetic.rescale(arithmetic.quotient(x.scale, y.scale)),
        zero_point=y.zero_point,
        clamp=clamp_of(y, activation),
    )
