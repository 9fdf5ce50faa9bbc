# SPDX-License-Identifier: Apache-2.0
"""DEPTHWISE_CONV_2D: weights [1, height, width, out]."""

import numpy as np

from tflm_export.flatbuffer.options import DepthwiseConv2DOptions
from tflm_export.ops.accumulate import centred_weights, weighted_problem, weighted_sum
from tflm_export.ops.activations import fused_activation
from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp
from tflm_export.ops.windows import windows


@register("DEPTHWISE_CONV_2D")
class DepthwiseConv2D(WeightedOp):
    """Depthwise 2-D convolution; the channels are the last axis of the weights."""

    run_inputs = 2
    channel_axis = 3
    int4_activations = ("INT8",)  # beside INT16, LiteRT takes packed bytes for weights

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/integer_ops/depthwise_conv.h."""
        x, w, bias = self.operands(operator)
        _, *kernel, channels = w.shape
        inputs = x.shape[3]
        weights = np.moveaxis(centred_weights(w)[0], 2, 0).reshape(inputs, channels // inputs, *kernel, 1)
        view = windows(operator, DepthwiseConv2DOptions, x.shape, kernel)
        activation = fused_activation(operator, DepthwiseConv2DOptions.ACTIVATION)
        return (weighted_sum(operator, arithmetic, (x, w, bias), weights, view, activation),)

    def lowering_problem(self, operator):
        x, w, bias = self.operands(operator)
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or w.shape[3] % max(1, x.shape[3]):
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        return weighted_problem(x, w, bias, operator.outputs[0], self.weight_types(x))
