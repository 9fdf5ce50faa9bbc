"""What elementwise operators of two inputs share: broadcasting, plain integers, and the stock kernels' sum."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.model import Operator
from tflm_export.ops.context import Context, Rounding, centred, emit

_INT32 = np.iinfo(np.int32)
_INT32_RANGES = {"NONE": (_INT32.min, _INT32.max), "RELU": (0, _INT32.max), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}


def broadcast_mixes_rows(operator: Operator) -> bool:
    """Whether the first dimension of an operand does not line up with the output's."""
    rank = len(operator.outputs[0].shape)
    return any(len(t.shape) > rank or (len(t.shape) < rank and not t.is_constant) for t in operator.inputs)


def elementwise_problem(operator: Operator) -> str:
    """Why the integer kernels cannot take an elementwise operator of two inputs, empty if they can."""
    tensors = (*operator.inputs, *operator.outputs)
    types = sorted({t.type for t in tensors})
    if len(operator.inputs) != 2 or None in operator.inputs or len(types) != 1:
        return f"{' and '.join(types)} operands are not simulated"
    if types[0] == "INT32":
        return ""
    if not all(t.is_quantized and t.quantization.scale.values.size == 1 for t in tensors):
        return f"{types[0]} operands without a scale each are not simulated"
    return ""


def plain_int32(activation: str, integers: np.ndarray) -> list[np.ndarray]:
    """The outputs of an operator on integers that stand for themselves."""
    return [np.clip(integers.astype(np.int32), *_INT32_RANGES[activation])]


def sum_of_terms(operator: Operator, inputs: list, signs, factors: np.ndarray, activation: str, context: Context):
    """ADD and SUB.

    Args:
      operator: its inputs are the two terms.
      inputs: their integers.
      signs: 1 or -1 for each term.
      factors: float64 [2], Si / Sy.
      activation: fused activation.
      context: whose rounding.

    Narrow kernels align both products to the larger shift, add and round once. The stock kernels scale both terms by
    2**20 (int16: 2**15), rescale each to twice the larger input scale, add, and rescale the sum.

    Source: AddFunc in tensorflow/lite/kernels/internal/reference/integer_ops/add.h.
    """
    terms = [centred(tensor, x) for tensor, x in zip(operator.inputs, inputs, strict=True)]
    if context.rounding is Rounding.NARROW:
        return [emit(operator.outputs[0], _aligned_sum(terms, signs, context.narrow_factors(factors)), activation)]
    to_common, to_output, left_shift = _stock_factors(operator)
    total = sum(
        sign * context.requantize(term << left_shift, factor)
        for term, sign, factor in zip(terms, signs, to_common, strict=True)
    )
    return [emit(operator.outputs[0], context.requantize(total, to_output), activation)]


def _aligned_sum(terms: list, signs, recovered: rescale.Rescale) -> np.ndarray:
    common = max(1, int(recovered.shift.max()))
    lifts = [int(common - shift) for shift in recovered.shift]
    # Ordinary scales fit 64 bits; where their ratio is absurd, integers of any size take over.
    exact = np.int64 if max(lifts) + rescale.MAX_BITS + 18 < 62 and common < 62 else object
    total = sum(
        (term.astype(exact) * (sign * int(m))) << lift
        for term, sign, m, lift in zip(terms, signs, recovered.multiplier, lifts, strict=True)
    )
    return ((total + (1 << (common - 1))) >> common).astype(np.int64)


def _stock_factors(operator: Operator) -> tuple[list[float], float, int]:
    """The factors of both terms to their common scale, of the sum to the output, and the left shift of the terms.

    In float64 throughout. (TFLM's sources of August 2026 divide the scales of SUB in float32; its wheel of October 2026
    computes as written here.)
    """
    left_shift = 15 if operator.outputs[0].type == "INT16" else 20
    a, b, y = (t.scale for t in (*operator.inputs, operator.outputs[0]))
    twice = 2 * max(a, b)
    return [a / twice, b / twice], twice / ((1 << left_shift) * y), left_shift
