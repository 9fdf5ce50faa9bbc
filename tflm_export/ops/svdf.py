"""SVDF: a filter over features, a filter over time on its last outputs, and a sum over ranks."""

import numpy as np

from tflm_export.flatbuffer.options import SVDFOptions
from tflm_export.ops.base import Unsupported, register
from tflm_export.ops.context import Rounding, centred, emit, exact_product, saturate


@register("SVDF")
class SVDF(Unsupported):
    """Inputs are activations, feature weights, time weights, bias and the state, which holds the last outputs."""

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
            return f"tensors of types {', '.join((*types, time.type))} are not simulated"
        rank = operator.option(SVDFOptions.RANK)
        if rank < 1 or features.shape[0] % rank:
            return f"a rank of {rank} with {features.shape[0]} filters is not simulated"
        return ""

    def mixes_rows(self, operator):
        return True
