# SPDX-License-Identifier: Apache-2.0
"""CONV_2D: weights [out, height, width, in]."""

from tflm_export.flatbuffer.options import Conv2DOptions
from tflm_export.ops.accumulate import centred_weights, weighted_problem, weighted_sum
from tflm_export.ops.activations import fused_activation
from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp
from tflm_export.ops.windows import windows


@register("CONV_2D")
class Conv2D(WeightedOp):
    """2-D convolution; the runtimes multiply scales in float64 (PopulateConvolutionQuantizationParams)."""

    run_inputs = 2
    int4_activations = ("INT8", "INT16")

    def lower(self, operator, arithmetic):
        """Source: ConvPerChannel in tensorflow/lite/kernels/internal/reference/integer_ops/conv.h."""
        x, w, bias = self.operands(operator)
        channels, *kernel, depth = w.shape
        groups = x.shape[3] // depth
        weights = centred_weights(w).reshape(groups, channels // groups, *kernel, depth)
        view = windows(operator, Conv2DOptions, x.shape, kernel)
        activation = fused_activation(operator, Conv2DOptions.ACTIVATION)
        return (weighted_sum(operator, arithmetic, (x, w, bias), weights, view, activation),)

    def lowering_problem(self, operator):
        x, w, bias = self.operands(operator)
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or x.shape[3] % w.shape[3]:
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        return weighted_problem(x, w, bias, operator.outputs[0], self.weight_types(x))
