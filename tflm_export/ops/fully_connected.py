"""FULLY_CONNECTED: weights [out, in]."""

from tflm_export.ops.base import register
from tflm_export.ops.weighted import WeightedOp


@register("FULLY_CONNECTED")
class FullyConnected(WeightedOp):
    """Dense layer. With per-tensor weights the runtimes multiply Sx and Sw in float32 (GetQuantizedConvolutionMultipler)."""

    weight_rank = 2
    float32_product = True
