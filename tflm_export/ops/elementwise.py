# SPDX-License-Identifier: Apache-2.0
"""What elementwise operators of two inputs share."""

import numpy as np

from tflm_export.flatbuffer.model import Operator
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.value import value_of

_INT32 = np.iinfo(np.int32)
_RANGES = {"NONE": (_INT32.min, _INT32.max), "RELU": (0, _INT32.max), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}


def elementwise_problem(operator: Operator, activation: str) -> str:
    """Why the integer kernels cannot take an elementwise operator of two inputs, empty if they can.

    Args:
      operator: the operator.
      activation: its fused activation.
    """
    if activation not in _RANGES:
        return f"a fused activation {activation} is not simulated"
    tensors = (*operator.inputs, *operator.outputs)
    types = sorted({t.type for t in tensors if t is not None})
    if len(operator.inputs) != 2 or None in operator.inputs or len(types) != 1:
        return f"{' and '.join(types)} operands are not simulated"
    if types[0] == "INT32":
        return ""
    if not all(t.is_quantized and t.quantization.scale.values.size == 1 for t in tensors):
        return f"{types[0]} operands without a scale each are not simulated"
    return ""


def plain_int32(function: str, operator: Operator, activation: str) -> Elementwise:
    """The form of an operator on integers that stand for themselves."""
    inputs, outputs = (tuple(map(value_of, tensors)) for tensors in (operator.inputs, operator.outputs))
    return Elementwise(inputs=inputs, outputs=outputs, function=function, clamp=_RANGES[activation])
