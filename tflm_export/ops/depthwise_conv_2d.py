"""DEPTHWISE_CONV_2D: weights [1, height, width, out]."""

from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp


@register("DEPTHWISE_CONV_2D")
class DepthwiseConv2D(WeightedOp):
    """Depthwise 2-D convolution; the channels are the last axis of the weights."""

    channel_axis = 3
