# SPDX-License-Identifier: Apache-2.0
"""SVDF: a filter over features, a filter over time on its last outputs, and a sum over ranks."""

import numpy as np

from tflm_export import solver
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import SVDFOptions
from tflm_export.ops.accumulate import centred_bias, centred_limits
from tflm_export.ops.base import Declaration, register, scale_problem
from tflm_export.ops.layer import Layer
from tflm_export.ops.recurrent import RecurrentOp
from tflm_export.ops.weighted import is_float
from tflm_export.program.form import largest_sum
from tflm_export.program.recurrence import Svdf
from tflm_export.program.value import value_of


@register("SVDF")
class SVDF(RecurrentOp):
    """Inputs are activations, feature weights, time weights, bias and the state, which holds the last outputs.

    Two rescales: to the state, landed on the grid by the feature weights, and from it to the output, by the time
    weights, which have 16 bits in most models. The state keeps its scale.
    """

    min_inputs = 3

    def layers(self, operator: Operator) -> tuple[Layer, Layer]:
        """Over features, and over time."""
        x, features, time, bias, state = operator.inputs[:5]
        y, rank = operator.outputs[0], operator.option(SVDFOptions.RANK)
        return (
            Layer(x, features, None, state.key, state.scale),
            Layer(state, time, bias, y.key, y.scale, weight_types=(state.type,), summed_channels=rank),
        )

    def rescales(self, operator):
        return not is_float(operator.inputs[0], *operator.outputs)

    def declaration(self, operator, graph):
        first, second = self.layers(operator)
        # The output stays: 16-bit weights lose less.
        second = solver.Weighted(second.x.key, second.output) if second.w.type == "INT16" else second.node
        return Declaration(nodes=(first.node, second), pins=(first.output,))

    def problem(self, operator, graph):
        problem = self._shape_problem(operator)
        if problem:
            return problem
        x, features, time, _, state = operator.inputs
        problem = scale_problem(x, state, operator.outputs[0], types=("INT8", "INT16"))
        if problem:
            return problem
        for w in (features, time):
            if w.quantization is None or w.quantization.scale.values.size != 1:
                return f"weight {w.label} needs one scale"
        return self.layers_problem(operator, graph)

    def factors(self, operator):
        tensors = (*operator.inputs[:3], *operator.inputs[4:5], *operator.outputs)
        if len(tensors) < 5 or not all(t is not None and t.is_quantized for t in tensors):
            return None
        if not (operator.inputs[4].scale > 0 and operator.outputs[0].scale > 0):
            return None
        return np.concatenate([layer.factors for layer in self.layers(operator)])

    def lower(self, operator, arithmetic):
        """Source: EvalIntegerSvdfReference in tensorflow/lite/micro/kernels/svdf_common.cc."""
        x, features, time, bias, state = operator.inputs
        y, rank = operator.outputs[0], operator.option(SVDFOptions.RANK)
        product, variable = arithmetic.product, value_of(state)
        biases = centred_bias(bias, time.shape[0] // rank)
        reaches = (
            largest_sum(features.data, np.zeros(len(features.data)), centred_limits(x)),
            largest_sum(time.data, biases, centred_limits(state), rank),
        )
        return (
            Svdf(
                inputs=(value_of(x), variable),
                outputs=(value_of(y), variable),
                features=features.data,
                time=time.data,
                bias=biases,
                rank=rank,
                to_state=arithmetic.rescale(product(x.scale, features.scale, state.scale)),
                to_output=arithmetic.rescale(product(state.scale, time.scale, y.scale)),
                zero_points=(x.zero_point, state.zero_point, y.zero_point),
                reaches=reaches,
            ),
        )

    def lowering_problem(self, operator):
        problem = self._shape_problem(operator)
        if problem:
            return problem
        _, features, time, bias, state = operator.inputs
        if any(t is not None and t.data is None for t in (features, time, bias)):
            return "weights computed at run time are not simulated"
        return "" if state.is_variable else f"its state, {state.name}, is no variable tensor"

    def _shape_problem(self, operator) -> str:
        if len(operator.inputs) != 5 or any(operator.inputs[i] is None for i in (0, 1, 2, 4)):
            return "it lacks inputs"
        x, features, time, _, state = operator.inputs
        y = operator.outputs[0]
        if not all(tensor.is_quantized for tensor in (x, features, time, state, y)):
            return "it has tensors without scales"
        types = (x.type, features.type, state.type, y.type)
        if types != ("INT8", "INT8", time.type, "INT8") or time.type not in ("INT8", "INT16"):
            return f"tensors of types {', '.join((*types, time.type))} are not supported"
        rank = operator.option(SVDFOptions.RANK)
        if len(features.shape) != 2 or len(time.shape) != 2 or features.shape[0] != time.shape[0]:
            return f"its weights of shapes {list(features.shape)} and {list(time.shape)} do not fit"
        if rank < 1 or features.shape[0] % rank:
            return f"a rank of {rank} with {features.shape[0]} filters is not supported"
        return ""
