"""FULLY_CONNECTED: weights [out, in]."""

import numpy as np

from tflm_export.flatbuffer.options import FullyConnectedOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.accumulate import centred_weights, rescale_accumulators, weighted_problem
from tflm_export.ops.base import register
from tflm_export.ops.context import centred, exact_product, fused_activation
from tflm_export.ops.statistics import shared
from tflm_export.ops.weighted import WeightedOp


@register("FULLY_CONNECTED")
class FullyConnected(WeightedOp):
    """Dense layer; with per-tensor weights Sx * Sw is a float32 product (GetQuantizedConvolutionMultipler)."""

    run_inputs = 2
    weight_rank = 2
    float32_product = True

    def run(self, operator, inputs, context):
        """LiteRT's reference kernel (2.3) has no integer multiplier: it rounds a float64 product of the real factor.

        The product of per-tensor scales is taken in float64, as LiteRT 2.3 and TFLM's wheel of October 2026 do.
        The two ways differ in the last of 31 bits, which no narrow multiplier sees.

        Source: FullyConnected in tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h.
        """
        x, weights, bias = (*inputs, None)[:3]
        channels, depth = weights.shape
        leading = x.shape[:-1] if operator.option(FullyConnectedOptions.KEEP_NUM_DIMS, UINT8) else (x.size // depth,)
        rows = centred(operator.inputs[0], x.reshape(-1, depth), np.int32)
        accumulator = exact_product(rows, centred_weights(operator.inputs[1], weights).T)
        activation = fused_activation(operator, FullyConnectedOptions.ACTIVATION)
        tensors = operator.inputs[:2]
        outputs = rescale_accumulators(operator, context, accumulator, bias, tensors, activation, real=True)
        return [outputs.reshape(*leading, channels)]

    def statistics(self, operator, inputs):
        x, weights, *_ = inputs
        return shared(x.reshape(-1, weights.shape[1]), operator.inputs[0].zero_point)

    def mixes_rows(self, operator):
        return not operator.inputs[1].is_constant

    def simulation_problem(self, operator):
        x, w, *bias = operator.inputs
        if len(w.shape) != 2 or not all(w.shape):
            return f"weights of shape {list(w.shape)} are not simulated"
        if operator.option(FullyConnectedOptions.WEIGHTS_FORMAT, UINT8):
            return "shuffled weights are not simulated"
        return weighted_problem(x, w, (*bias, None)[0], operator.outputs[0])
