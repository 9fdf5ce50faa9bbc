# SPDX-License-Identifier: Apache-2.0
"""TRANSPOSE_CONV: weights [out, height, width, in]; every input element spreads a window over the output."""

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.options import PADDING_SAME, TransposeConvOptions
from tflm_export.flatbuffer.reader import INT8
from tflm_export.ops.accumulate import centred_weights, weighted_problem, weighted_sum
from tflm_export.ops.activations import fused_activation
from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp
from tflm_export.program.windows import Windows, transposed_axis_of


@register("TRANSPOSE_CONV")
class TransposeConv(WeightedOp):
    """Inputs are the output's shape, weights, activations and a bias."""

    min_inputs = 3
    run_inputs = 3

    def operands(self, operator):
        _, w, x, *rest = operator.inputs
        return x, w, rest[0] if rest else None

    def lower(self, operator, arithmetic):
        """The convolution that it is of its input with zeros in between, with the weights reversed.

        Source: TransposeConv in tensorflow/lite/kernels/internal/reference/integer_ops/transpose_conv.h.
        """
        x, w, bias = self.operands(operator)
        weights = centred_weights(w)[None, :, ::-1, ::-1]
        activation = fused_activation(operator, TransposeConvOptions.ACTIVATION)
        return (weighted_sum(operator, arithmetic, (x, w, bias), weights, self._windows(operator), activation),)

    def _windows(self, operator) -> Windows:
        x, w, _ = self.operands(operator)
        strides = [operator.option(f) for f in (TransposeConvOptions.STRIDE_H, TransposeConvOptions.STRIDE_W)]
        same = operator.option(TransposeConvOptions.PADDING, INT8) == PADDING_SAME
        shape, wanted = operator.outputs[0].shape, operator.inputs[0].data
        if len(shape) != 4 or min(*strides, *shape) < 1:
            raise ModelError(
                f"the file is damaged: {operator.label} has strides {strides} and an output of {list(shape)}"
            )
        if wanted is not None and wanted.reshape(-1).tolist() != list(shape):
            raise ValueError(f"its output is to be of shape {wanted.reshape(-1).tolist()}, and is of {list(shape)}")
        axes = zip(x.shape[1:3], w.shape[1:3], strides, shape[1:3], strict=True)
        return Windows(*(transposed_axis_of(*axis, same) for axis in axes))

    def in_file_order(self, taps):
        return taps[..., ::-1, :]

    def lowering_problem(self, operator):
        if len(operator.inputs) < 3 or None in operator.inputs[:3]:
            return "it lacks inputs"
        x, w, bias = self.operands(operator)
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or x.shape[3] != w.shape[3]:
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        int16 = bias is not None and bias.type == "INT16" and bias.data is not None
        return weighted_problem(x, w, None if int16 else bias, operator.outputs[0], self.weight_types(x))
