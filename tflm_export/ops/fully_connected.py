"""FULLY_CONNECTED: weights [out, in]."""

from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp


@register("FULLY_CONNECTED")
class FullyConnected(WeightedOp):
    """Dense layer; with per-tensor weights Sx * Sw is a float32 product (GetQuantizedConvolutionMultipler)."""

    weight_rank = 2
    float32_product = True
