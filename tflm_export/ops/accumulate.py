"""The common end of operators with weights: from sums of products to outputs."""

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.ops.context import Context, emit

_INT32_END = 1 << 31


def weighted_problem(x: Tensor, w: Tensor, bias: Tensor | None, y: Tensor) -> str:
    """Why the integer kernels cannot take these tensors, empty if they can."""
    for tensor in (x, w, y):
        if not tensor.is_quantized:
            return f"{tensor.name} is {tensor.type}{'' if tensor.quantization is None else ' without scales'}"
        if tensor is not w and tensor.quantization.scale.values.size != 1:
            return f"{tensor.name} is quantised per channel"
    if (x.type, w.type) not in (("INT8", "INT8"), ("INT16", "INT8"), ("UINT8", "UINT8")) or y.type != x.type:
        return f"{x.type} inputs, {w.type} weights and {y.type} outputs are not simulated"
    wanted = "INT64" if x.type == "INT16" else "INT32"  # runtimes disagree on int32 with int16 activations
    if bias is not None and bias.type != wanted:
        return f"its bias {bias.name} is {bias.type}, with {x.type} activations {wanted} is needed"
    return ""


def centred_weights(w: Tensor, values: np.ndarray) -> np.ndarray:
    """Weights with their zero point subtracted: int16 (one zero point, as in all kernels)."""
    return np.subtract(values, int(w.quantization.zero_point[0]), dtype=np.int16)


def rescale_accumulators(
    operator: Operator,
    context: Context,
    accumulator: np.ndarray,
    bias: np.ndarray | None,
    tensors: tuple[Tensor, Tensor],
    activation: str,
    real: bool = False,
) -> np.ndarray:
    """Adds the bias, rescales and emits.

    Args:
      operator: the operator; its first output is emitted.
      context: whose rounding.
      accumulator: int64 [..., channels].
      bias: integers [channels], or None.
      tensors: input and weights.
      activation: fused activation.
      real: whether LiteRT's reference kernel multiplies in float64.

    int8 kernels accumulate in 32 bits that wrap, int16 kernels in 64 bits.
    """
    x, w = tensors
    y = operator.outputs[0]
    # The old uint8 convolutions multiply the scales in float32.
    float32_product = x.type == "UINT8" and not real
    factors = rescale.effective_scale(x.scale, w.quantization.scale.values, y.scale, float32_product)
    wide = x.type == "INT16"
    if bias is not None:
        accumulator = accumulator + bias
    if not wide and accumulator.size and max(-int(accumulator.min()), int(accumulator.max())) >= _INT32_END:
        accumulator = accumulator.astype(np.int32).astype(np.int64)
    return emit(y, context.requantize(accumulator, factors, wide, real), activation)
