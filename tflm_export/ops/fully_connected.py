# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED: weights [out, in]; weights that are computed at run time are an activation like the other."""

from tflm_export import rescale, solver
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import FullyConnectedOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.graph import Graph
from tflm_export.ops.accumulate import centred_bias, centred_weights, weighted_problem, weighted_sum
from tflm_export.ops.activations import clamp_of, fused_activation
from tflm_export.ops.base import Declaration, register, scale_problem
from tflm_export.ops.constants import requantise_bias
from tflm_export.ops.weighted import WeightedOp
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.move import same
from tflm_export.program.value import Value, value_of
from tflm_export.program.windows import dense_rows, points


@register("FULLY_CONNECTED")
class FullyConnected(WeightedOp):
    """Dense layer; with per-tensor weights Sx * Sw is a float32 product (GetQuantizedConvolutionMultipler).

    Weights computed at run time have one scale, and the factor Sx * Sw / Sy is that of BATCH_MATMUL: the scales of
    activations put it on the grid. A constant bias follows Sx * Sw.
    """

    run_inputs = 2
    weight_rank = 2
    float32_product = True
    int4_activations = ("INT8", "INT16")

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
        if x.type != y.type or w.type not in layer.weight_types:
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

    def weight_error(self, before, after):
        return super().weight_error(before, after) if before.inputs[1].is_constant else 0.0

    def lower(self, operator, arithmetic):
        """The product of per-tensor scales is taken in float64, as LiteRT 2.3 and TFLM's wheel of October 2026 do.

        The two ways differ in the last of 31 bits, which no narrow multiplier sees.

        Source: FullyConnected in tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h.
        """
        x, w, bias = self.operands(operator)
        channels, depth = w.shape
        rows = dense_rows(x.shape, depth)
        activation = fused_activation(operator, FullyConnectedOptions.ACTIVATION)
        if w.data is not None:
            weights = centred_weights(w).reshape(1, channels, 1, 1, depth)
            return (weighted_sum(operator, arithmetic, (x, w, bias), weights, points(rows), activation, is_dense=True),)
        y, first = operator.outputs[0], value_of(x)
        vectors = Value((first.key, "rows"), first.dtype, (rows, depth), first.name, first.data)
        factor = rescale.effective_scale(x.scale, w.scale, y.scale)
        product = MatrixProduct(
            inputs=(vectors, value_of(w)),
            outputs=(value_of(y),),
            transposed=(False, True),
            zero_points=(x.zero_point, w.zero_point),
            bias=centred_bias(bias, channels),
            rescale=arithmetic.rescale_dense(factor, x.type == "INT16"),
            zero_point=y.zero_point,
            clamp=clamp_of(y, activation),
            is_wide=x.type == "INT16",
        )
        return same(first, vectors), product

    def lowering_problem(self, operator):
        x, w, bias = self.operands(operator)
        if len(w.shape) != 2 or not all(w.shape):
            return f"weights of shape {list(w.shape)} are not simulated"
        if operator.option(FullyConnectedOptions.WEIGHTS_FORMAT, UINT8):
            return "shuffled weights are not simulated"
        return weighted_problem(x, w, bias, operator.outputs[0], self.weight_types(x), computed=True)
