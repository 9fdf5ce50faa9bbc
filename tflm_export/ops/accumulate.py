# SPDX-License-Identifier: Apache-2.0
"""Operators with constant weights as sums of products."""

import numpy as np

from tflm_export import rescale
from tflm_export.arithmetic import Arithmetic
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.ops.activations import clamp_of
from tflm_export.ops.base import ACTIVATION_TYPES
from tflm_export.program.value import value_of
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows


def weighted_problem(
    x: Tensor, w: Tensor, bias: Tensor | None, y: Tensor, weight_types: tuple[str, ...], computed: bool = False
) -> str:
    """Why the integer kernels cannot take these tensors, empty if they can.

    Args:
      x, w, bias, y: input, weights, bias and output.
      weight_types: the types of weights that there are kernels for.
      computed: whether weights of 8 bits may be computed at run time.
    """
    for tensor in (x, w, y):
        if not tensor.is_quantized:
            return f"{tensor.name} is {tensor.type}{' without scales' if tensor.quantization is None else ''}"
        if tensor is not w and tensor.quantization.scale.values.size != 1:
            return f"{tensor.name} is quantised per channel"
    if x.type not in ACTIVATION_TYPES or w.type not in weight_types or y.type != x.type:
        return f"{x.type} inputs, {w.type} weights and {y.type} outputs are not simulated"
    if w.data is None and not (computed and w.type != "INT4"):
        return f"its weights {w.name} are computed at run time, which is not simulated"
    wanted = "INT64" if x.type == "INT16" else "INT32"  # runtimes disagree on int32 with int16 activations
    if bias is not None and bias.type != wanted:
        return f"its bias {bias.name} is {bias.type}, with {x.type} activations {wanted} is needed"
    if bias is not None and bias.data is None:
        return f"its bias {bias.name} is computed at run time, which is not simulated"
    return ""


def centred_weights(w: Tensor) -> np.ndarray:
    """Constant weights with their zero point subtracted (one, as in all kernels): int8 where it is 0, else int16."""
    zero = int(w.quantization.zero_point[0])
    return np.subtract(w.data, zero, dtype=np.int16) if zero or w.type == "UINT8" else w.data


def centred_limits(tensor: Tensor) -> tuple[int, int]:
    """The smallest and largest integer of a tensor's type, less its zero point."""
    low, high = value_of(tensor).limits
    return low - tensor.zero_point, high - tensor.zero_point


def centred_bias(bias: Tensor | None, channels: int) -> np.ndarray:
    """A constant bias as int64 [channels], zeros where there is none."""
    return np.zeros(channels, np.int64) if bias is None else bias.data.reshape(channels).astype(np.int64)


def weighted_sum(
    operator: Operator, arithmetic: Arithmetic, operands: tuple[Tensor, Tensor, Tensor | None], weights: np.ndarray,
    windows: Windows, activation: str, is_dense: bool = False,
) -> WeightedSum:  # fmt: skip
    """The form of an operator with weights.

    Args:
      operator: its first output is what the form gives.
      arithmetic: whose rescale.
      operands: input, weights and bias.
      weights: centred, [groups, channels of a group, height, width, inputs of a group].
      windows: over the input.
      activation: fused activation.
      is_dense: whether runtimes rescale as dense layers do.

    Raises:
      ValueError: the output's shape does not fit, or the number of scales.
    """
    x, w, bias = operands
    y = operator.outputs[0]
    channels, scales = weights.shape[0] * weights.shape[1], w.quantization.scale.values.size
    if scales not in (1, channels):
        raise ValueError(f"its weights have {scales} scales for {channels} channels")
    # The old uint8 convolutions multiply the scales in float32.
    float32_product = x.type == "UINT8" and not is_dense
    factors = rescale.effective_scale(x.scale, w.quantization.scale.values, y.scale, float32_product)
    is_wide = x.type == "INT16"
    rescaling = arithmetic.rescale_dense(factors, is_wide) if is_dense else arithmetic.rescale(factors, is_wide)
    form = WeightedSum(
        inputs=(value_of(x),),
        outputs=(value_of(y),),
        weights=weights,
        bias=centred_bias(bias, channels),
        input_zero_point=x.zero_point,
        windows=windows,
        rescale=rescaling,
        zero_point=y.zero_point,
        clamp=clamp_of(y, activation),
        is_wide=is_wide,
    )
    images = form.image_shape[0]
    if form.output.size != images * windows.outputs * channels:
        raise ValueError(
            f"{images} x {windows.height.output} x {windows.width.output} x {channels} elements are no {list(y.shape)}"
        )
    return form
