"""CONV_2D: weights [out, height, width, in]."""

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.options import Conv2DOptions
from tflm_export.ops.accumulate import centred_weights, rescale_accumulators, weighted_problem
from tflm_export.ops.base import register
from tflm_export.ops.context import exact_product, fused_activation
from tflm_export.ops.statistics import shared
from tflm_export.ops.weighted import WeightedOp
from tflm_export.ops.windows import row_blocks, windows


@register("CONV_2D")
class Conv2D(WeightedOp):
    """2-D convolution; the runtimes multiply scales in float64 (PopulateConvolutionQuantizationParams)."""

    run_inputs = 2

    def run(self, operator, inputs, context):
        """Source: ConvPerChannel in tensorflow/lite/kernels/internal/reference/integer_ops/conv.h."""
        x, weights, bias = (*inputs, None)[:3]
        channels, *kernel, depth = weights.shape
        view = windows(operator, Conv2DOptions, x.shape, kernel)
        groups = x.shape[3] // depth
        columns = centred_weights(operator.inputs[1], weights).reshape(groups, channels // groups, -1)
        zero = operator.inputs[0].zero_point
        padded = view.pad(x, zero)
        activation = fused_activation(operator, Conv2DOptions.ACTIVATION)
        # Raw inputs are multiplied; their zero point comes off as a constant of each channel.
        offset = -zero * columns.sum(-1, dtype=np.int64).reshape(-1)
        bias = offset.astype(np.int64) if bias is None else bias + offset.astype(bias.dtype)
        outputs = []
        per_row = view.height.output * view.width.output * (4 * weights[0].size + 24 * channels)
        for block in row_blocks(len(x), per_row):
            sums = [
                exact_product(view.gather(np.ascontiguousarray(image)), matrix.T)
                for image, matrix in zip(np.split(padded[block], groups, axis=3), columns, strict=True)
            ]
            accumulator = np.concatenate(sums, axis=3) if groups > 1 else sums[0]
            outputs.append(rescale_accumulators(operator, context, accumulator, bias, operator.inputs[:2], activation))
        return [np.concatenate(outputs)]

    def statistics(self, operator, inputs):
        x, weights, *_ = inputs
        if x.shape[3] != weights.shape[3]:  # grouped: every channel sees the patches of its group only
            raise ModelError(f"{operator.label} is a grouped convolution, which cannot be calibrated yet")
        zero = operator.inputs[0].zero_point
        view = windows(operator, Conv2DOptions, x.shape, weights.shape[1:3])
        return shared(view.gather(view.pad(x, zero)).reshape(-1, weights[0].size), zero)

    def simulation_problem(self, operator):
        x, w, *bias = operator.inputs
        if len(w.shape) != 4 or not all(w.shape) or len(x.shape) != 4 or x.shape[3] % w.shape[3]:
            return f"weights of shape {list(w.shape)} do not fit inputs of shape {list(x.shape)}"
        return weighted_problem(x, w, (*bias, None)[0], operator.outputs[0])
