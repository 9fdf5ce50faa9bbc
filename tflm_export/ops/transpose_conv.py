"""TRANSPOSE_CONV: weights [out, height, width, in]; every input element spreads a window over the output."""

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import PADDING_SAME, TransposeConvOptions
from tflm_export.flatbuffer.reader import INT8
from tflm_export.ops.accumulate import centred_weights, rescale_accumulators, weighted_problem
from tflm_export.ops.base import register
from tflm_export.ops.context import centred, exact_product, fused_activation
from tflm_export.ops.statistics import shared
from tflm_export.ops.weighted import WeightedOp
from tflm_export.ops.windows import axis_of


@register("TRANSPOSE_CONV")
class TransposeConv(WeightedOp):
    """Inputs are the output's shape, weights, activations and a bias."""

    min_inputs = 3
    run_inputs = 3

    def operands(self, operator):
        _, w, x, *rest = operator.inputs
        return x, w, rest[0] if rest else None

    def run(self, operator, inputs, context):
        """Source: TransposeConv in tensorflow/lite/kernels/internal/reference/integer_ops/transpose_conv.h."""
        shape, weights, x, bias = (*inputs, None)[:4]
        _, w_tensor, x_tensor, *_ = operator.inputs
        channels, height, width, depth = weights.shape
        strides, size, axes = _axes(operator, shape, (height, width))
        spread = [(side - 1) * axis.stride + axis.kernel for side, axis in zip(x.shape[1:3], axes, strict=True)]
        extent = [max(reach, axis.before + axis.size) for reach, axis in zip(spread, axes, strict=True)]
        products = exact_product(
            centred(x_tensor, x, np.int32).reshape(-1, depth), centred_weights(w_tensor, weights).reshape(-1, depth).T
        ).reshape(*x.shape[:3], channels, height, width)
        accumulator = np.zeros((len(x), *extent, channels), np.int64)
        for row in range(height):
            for column in range(width):
                end = [row + (x.shape[1] - 1) * strides[0] + 1, column + (x.shape[2] - 1) * strides[1] + 1]
                accumulator[:, row : end[0] : strides[0], column : end[1] : strides[1]] += products[..., row, column]
        top, left = (axis.before for axis in axes)
        accumulator = accumulator[:, top : top + size[0], left : left + size[1]]
        if bias is not None and bias.dtype == np.int16:
            bias = bias.astype(np.int64)
        activation = fused_activation(operator, TransposeConvOptions.ACTIVATION)
        return [rescale_accumulators(operator, context, accumulator, bias, (x_tensor, w_tensor), activation)]

    def statistics(self, operator, inputs):
        """Of the convolution that it is of its input with zeros in between."""
        shape, weights, x, *_ = inputs
        _, height, width, depth = weights.shape
        strides, size, axes = _axes(operator, shape, (height, width))
        sides = [(side - 1) * stride + 1 for side, stride in zip(x.shape[1:3], strides, strict=True)]
        spread = np.zeros((len(x), *sides, depth), np.float32)
        spread[:, :: strides[0], :: strides[1]] = centred(operator.inputs[2], x)
        borders = [
            (axis.kernel - 1, max(0, axis.before + length - side))
            for side, length, axis in zip(sides, size, axes, strict=True)
        ]
        spread = np.pad(spread, [(0, 0), *borders, (0, 0)])
        patches = np.lib.stride_tricks.sliding_window_view(spread, (height, width), (1, 2))
        top, left = (axis.before for axis in axes)
        patches = patches[:, top : top + size[0], left : left + size[1], :, ::-1, ::-1]
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, height * width * depth)
        return shared(patches, 0)

    def simulation_problem(self, operator):
        if len(operator.inputs) < 3 or None in operator.inputs[:3]:
            return "it lacks inputs"
        _, w, x, *bias = operator.inputs
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or x.shape[3] != w.shape[3]:
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        bias = (*bias, None)[0]
        if bias is not None and bias.type == "INT16":
            bias = None
        return weighted_problem(x, w, bias, operator.outputs[0])


def _axes(operator: Operator, shape: np.ndarray, kernel: tuple[int, int]) -> tuple[list, list, list]:
    """Strides, size of the output and the windows over it, of height and width."""
    strides = [operator.option(f) for f in (TransposeConvOptions.STRIDE_H, TransposeConvOptions.STRIDE_W)]
    same = operator.option(TransposeConvOptions.PADDING, INT8) == PADDING_SAME
    size = [int(side) for side in shape.reshape(-1)[1:3]]
    if min(*strides, *size) < 1:
        raise ModelError(f"the file is damaged: {operator.label} has strides {strides} and an output of {size}")
    axes = [axis_of(side, length, stride, 1, same) for side, length, stride in zip(size, kernel, strides, strict=True)]
    return strides, size, axes
