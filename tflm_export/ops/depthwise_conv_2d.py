"""DEPTHWISE_CONV_2D: weights [1, height, width, out]."""

import numpy as np

from tflm_export.flatbuffer.options import DepthwiseConv2DOptions
from tflm_export.ops.accumulate import centred_weights, rescale_accumulators, weighted_problem
from tflm_export.ops.base import register
from tflm_export.ops.context import centred, fused_activation
from tflm_export.ops.statistics import per_channel
from tflm_export.ops.weighted import WeightedOp
from tflm_export.ops.windows import row_blocks, windows


@register("DEPTHWISE_CONV_2D")
class DepthwiseConv2D(WeightedOp):
    """Depthwise 2-D convolution; the channels are the last axis of the weights."""

    run_inputs = 2
    channel_axis = 3

    def run(self, operator, inputs, context):
        """Source: tensorflow/lite/kernels/internal/reference/integer_ops/depthwise_conv.h."""
        x, weights, bias = (*inputs, None)[:3]
        _, *kernel, channels = weights.shape
        view = windows(operator, DepthwiseConv2DOptions, x.shape, kernel)
        exact = np.int64 if x.dtype == np.int16 or weights[0, :, :, 0].size >= 1 << 15 else np.int32
        taps = centred_weights(operator.inputs[1], weights)[0].astype(exact)
        tensors = operator.inputs[:2]
        activation = fused_activation(operator, DepthwiseConv2DOptions.ACTIVATION)
        outputs = []
        per_row = view.height.output * view.width.output * channels * 24
        for block in row_blocks(len(x), per_row):
            image = view.pad(centred(operator.inputs[0], x[block], exact), 0)
            if channels != x.shape[3]:
                image = np.repeat(image, channels // x.shape[3], axis=3)
            accumulator = np.zeros((len(image), view.height.output, view.width.output, channels), exact)
            for tap in view.taps:
                accumulator += view.tap(image, *tap) * taps[tap]
            accumulator = accumulator.astype(np.int64)
            outputs.append(rescale_accumulators(operator, context, accumulator, bias, tensors, activation))
        return [np.concatenate(outputs)]

    def statistics(self, operator, inputs):
        x, weights, *_ = inputs
        _, *kernel, channels = weights.shape
        zero = operator.inputs[0].zero_point
        view = windows(operator, DepthwiseConv2DOptions, x.shape, kernel)
        patches = view.gather(view.pad(x, zero)).reshape(-1, len(view.taps), x.shape[3])
        return per_channel(np.repeat(patches, channels // x.shape[3], axis=2), zero)

    def simulation_problem(self, operator):
        x, w, *bias = operator.inputs
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or w.shape[3] % max(1, x.shape[3]):
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        return weighted_problem(x, w, (*bias, None)[0], operator.outputs[0])
