"""FULLY_CONNECTED: weights [out, in]; weights that are computed at run time are an activation like the other."""

import numpy as np

from tflm_export import solver
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import FullyConnectedOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.graph import Graph
from tflm_export.ops.accumulate import centred_weights, rescale_accumulators, weighted_problem
from tflm_export.ops.base import Declaration, reach, register, rounded_apart, scale_problem
from tflm_export.ops.constants import requantise_bias
from tflm_export.ops.context import centred, exact_product, fused_activation
from tflm_export.ops.statistics import shared
from tflm_export.ops.weighted import WeightedOp


@register("FULLY_CONNECTED")
class FullyConnected(WeightedOp):
    """Dense layer; with per-tensor weights Sx * Sw is a float32 product (GetQuantizedConvolutionMultipler).

    Weights computed at run time have one scale, and the factor Sx * Sw / Sy is that of BATCH_MATMUL: the scales of
    activations put it on the grid. A constant bias follows Sx * Sw.
    """

    run_inputs = 2
    weight_rank = 2
    float32_product = True

    def problem(self, operator, graph):
        x, w, _ = self.operands(operator)
        if not self._has_computed_weights(operator):
            return super().problem(operator, graph)
        return scale_problem(x, w, operator.outputs[0]) or self._run_time_problem(operator, graph)

    def declaration(self, operator, graph):
        x, w, _ = self.operands(operator)
        if not self._has_computed_weights(operator):
            return super().declaration(operator, graph)
        return Declaration(nodes=(solver.Product((x.key, w.key), operator.outputs[0].key),))

    def _has_computed_weights(self, operator: Operator) -> bool:
        x, w, _ = self.operands(operator)
        return not w.is_constant and all(t.is_quantized for t in (x, w, operator.outputs[0]))

    def _run_time_problem(self, operator: Operator, graph: Graph) -> str:
        """Why an operator with weights of one scale cannot be narrowed, empty if it can."""
        x, w, bias = self.operands(operator)
        y, layer = operator.outputs[0], self.layer(operator)
        if x.type != y.type or w.type != layer.weight_type:
            return f"{x.type} inputs, {w.type} weights computed at run time and {y.type} outputs are no kernel's types"
        if len(w.shape) != self.weight_rank:
            return f"weight {w.label} has shape {list(w.shape)}; 2 dimensions are needed"
        if bias is None:
            return ""
        where = f"bias {bias.label}"
        if bias.type != layer.bias_type or bias.data is None or not graph.owns(bias):
            return f"{where} must be {layer.bias_type}, constant and no other operator's where weights are computed"
        if bias.quantization is not None and bias.quantization.scale.values.size != 1:
            return f"{where} has {bias.quantization.scale.values.size} scales, its weights have 1"
        return ""

    def edit(self, operator, plan, edits):
        x, w, bias = self.operands(operator)
        if w.is_constant:
            super().edit(operator, plan, edits)
        elif bias is not None:
            requantise_bias(bias, (x, w), plan, edits)

    def worst_case(self, operator, bits):
        x, w, bias = self.operands(operator)
        if w.is_constant:
            return super().worst_case(operator, bits)
        offset = 0.0 if bias is None else float(np.abs(bias.data.astype(np.float64)).max(initial=0))
        accumulator = np.array([float(reach(x)) * reach(w) * max(w.shape[1], 1) + offset])
        return rounded_apart(accumulator, self.factors(operator), bits)

    def weight_error(self, before, after):
        return super().weight_error(before, after) if before.inputs[1].is_constant else 0.0

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
