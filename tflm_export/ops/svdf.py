"""SVDF: a filter over features, a filter over time on its last outputs, and a sum over ranks."""

import numpy as np

from tflm_export import solver
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import SVDFOptions
from tflm_export.ops.base import Declaration, RescalingOp, register, scale_problem
from tflm_export.ops.context import Rounding, centred, emit, exact_product, saturate
from tflm_export.ops.layer import Layer
from tflm_export.ops.weighted import is_float, together


@register("SVDF")
class SVDF(RescalingOp):
    """Inputs are activations, feature weights, time weights, bias and the state, which holds the last outputs.

    Two rescales: to the state, landed on the grid by the feature weights, and from it to the output, by the time
    weights, which have 16 bits in most models. The state keeps its scale.
    """

    rewrites_constants = True
    min_inputs = 3

    def layers(self, operator: Operator) -> tuple[Layer, Layer]:
        """Over features, and over time."""
        x, features, time, bias, state = operator.inputs[:5]
        y, rank = operator.outputs[0], operator.option(SVDFOptions.RANK)
        return (
            Layer(x, features, None, state.key, state.scale),
            Layer(state, time, bias, y.key, y.scale, weight_type=state.type, summed_channels=rank),
        )

    def rescales(self, operator):
        return not is_float(operator.inputs[0], *operator.outputs)

    def declaration(self, operator, graph):
        first, second = self.layers(operator)
        # The output stays: 16-bit weights lose less.
        second = solver.Weighted(second.x.key, second.output) if second.w.type == "INT16" else second.node
        return Declaration(nodes=(first.node, second), pins=(first.output,))

    def problem(self, operator, graph):
        problem = self.simulation_problem(operator)
        if problem:
            return problem
        x, features, time, _, state = operator.inputs
        problem = scale_problem(x, state, operator.outputs[0], types=("INT8", "INT16"))
        if problem:
            return problem
        for w in (features, time):
            if w.quantization is None or w.quantization.scale.values.size != 1:
                return f"weight {w.label} needs one scale"
        return next((p for p in (layer.problem(graph) for layer in self.layers(operator)) if p), "")

    def factors(self, operator):
        tensors = (*operator.inputs[:3], *operator.inputs[4:5], *operator.outputs)
        if len(tensors) < 5 or not all(t is not None and t.is_quantized for t in tensors):
            return None
        if not (operator.inputs[4].scale > 0 and operator.outputs[0].scale > 0):
            return None
        return np.concatenate([layer.factors for layer in self.layers(operator)])

    def edit(self, operator, plan, edits):
        for layer in self.layers(operator):
            layer.edit(plan, edits)

    def worst_case(self, operator, bits):
        return together([layer.worst_case(bits) for layer in self.layers(operator)])

    def weight_error(self, before, after):
        pairs = zip(self.layers(before), self.layers(after), strict=True)
        return max(old.weight_error(new) for old, new in pairs)

    def run(self, operator, inputs, context):
        """Source: EvalIntegerSvdfReference in tensorflow/lite/micro/kernels/svdf_common.cc."""
        x, feature_weights, time_weights, bias, state = inputs
        x_tensor, feature_tensor, time_tensor, _, state_tensor = operator.inputs
        y = operator.outputs[0]
        rank = operator.option(SVDFOptions.RANK)
        real = np.float32 if context.rounding is Rounding.TFLITE else np.float64
        sx, sf, st, ss, sy = (real(t.scale) for t in (x_tensor, feature_tensor, time_tensor, state_tensor, y))
        features = exact_product(centred(x_tensor, x, np.int32), feature_weights.T)
        newest = saturate(state_tensor, context.requantize(features, float(sx * sf / ss)) + state_tensor.zero_point)
        filters, memory = time_weights.shape
        state = np.concatenate([state.reshape(len(x), filters, memory)[:, :, 1:], newest[:, :, None]], 2)
        context.variables[state_tensor.key] = state.reshape(state_tensor.shape)
        filtered = (centred(state_tensor, state) * time_weights).sum(2)
        total = filtered.reshape(len(x), filters // rank, rank).sum(2)
        if bias is not None:
            total = total + bias
        total = total.astype(np.int32).astype(np.int64)  # the kernels' sums wrap
        return [emit(y, context.requantize(total, float(ss * st / sy)))]

    def simulation_problem(self, operator):
        if len(operator.inputs) != 5 or any(operator.inputs[i] is None for i in (0, 1, 2, 4)):
            return "it lacks inputs"
        x, features, time, _, state = operator.inputs
        y = operator.outputs[0]
        types = (x.type, features.type, state.type, y.type)
        if types != ("INT8", "INT8", time.type, "INT8") or time.type not in ("INT8", "INT16"):
            return f"tensors of types {', '.join((*types, time.type))} are not supported"
        rank = operator.option(SVDFOptions.RANK)
        if len(features.shape) != 2 or len(time.shape) != 2 or features.shape[0] != time.shape[0]:
            return f"its weights of shapes {list(features.shape)} and {list(time.shape)} do not fit"
        if rank < 1 or features.shape[0] % rank:
            return f"a rank of {rank} with {features.shape[0]} filters is not supported"
        return ""

    def mixes_rows(self, operator):
        return True
