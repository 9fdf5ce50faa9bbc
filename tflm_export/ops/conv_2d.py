"""CONV_2D: weights [out, height, width, in]."""

from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp


@register("CONV_2D")
class Conv2D(WeightedOp):
    """2-D convolution; the runtimes multiply scales in float64 (PopulateConvolutionQuantizationParams)."""
