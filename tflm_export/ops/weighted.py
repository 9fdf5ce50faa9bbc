# SPDX-License-Identifier: Apache-2.0
"""Operators with constant weights: each of their layers lands its own factors on the grid."""

import functools

import numpy as np

from tflm_export.arithmetic import Narrow
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.ops import statistics
from tflm_export.ops.base import Declaration, RescalingOp, activation_problem
from tflm_export.ops.layer import Layer
from tflm_export.ops.statistics import Statistics
from tflm_export.program.weighted_sum import WeightedSum


class WeightedOp(RescalingOp):
    """Base of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV, which are one layer each.

    Attributes:
      weight_rank: dimensions of the weight tensor.
      channel_axis: which of them are the output channels.
      float32_product: whether the runtimes multiply Sx and a per-tensor Sw in float32.
      int4_activations: types of activations beside which runtimes take INT4 weights.
    """

    rewrites_constants = True
    min_inputs = 2
    weight_rank = 4
    channel_axis = 0
    float32_product = False
    int4_activations: tuple[str, ...] = ()

    def operands(self, operator: Operator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Input, weights and bias."""
        x, w, *rest = operator.inputs
        return x, w, rest[0] if rest else None

    def weight_types(self, x: Tensor) -> tuple[str, ...]:
        """The types of weights that runtimes take beside an input."""
        if x.type == "UINT8":
            return ("UINT8",)
        return ("INT8", "INT4") if x.type in self.int4_activations else ("INT8",)

    def layer(self, operator: Operator) -> Layer:
        """The operator's layer; its activations are quantised."""
        x, w, bias = self.operands(operator)
        y = operator.outputs[0]
        return Layer(
            x,
            w,
            bias,
            y.key,
            y.scale,
            self.weight_types(x),
            "INT64" if x.type == "INT16" else "INT32",
            self.weight_rank,
            self.channel_axis,
            float32_product=self.float32_product,
        )

    def rescales(self, operator):
        return not is_float(self.operands(operator)[0], *operator.outputs)

    def problem(self, operator, graph):
        x, y = self.operands(operator)[0], operator.outputs[0]
        return activation_problem(x, y) or self.layer(operator).problem(graph)

    def declaration(self, operator, graph):
        return Declaration(nodes=(self.layer(operator).node,))

    def factors(self, operator):
        x, w, _ = self.operands(operator)
        y = operator.outputs[0]
        if not (x.is_quantized and w.is_quantized and y.is_quantized and y.scale > 0):
            return None
        return self.layer(operator).factors

    def edit(self, operator, plan, edits):
        measure = None if plan.statistics is None else functools.partial(plan.statistics, operator)
        self.layer(operator).edit(plan, edits, measure)

    def statistics(self, operator, inputs):
        x = inputs[operator.inputs.index(self.operands(operator)[0])]
        if x is None:
            return None
        (form,) = self.lower(operator, Narrow())
        zero = form.input_zero_point
        patches = self.in_file_order(form.patches(x))
        if form.is_depthwise:
            return statistics.per_channel(np.repeat(patches, form.weights.shape[1], axis=2), zero)
        if len(form.weights) > 1:  # every channel sees the patches of its group only
            raise ModelError(f"{operator.label} is a grouped convolution, which cannot be calibrated yet")
        return statistics.shared(patches.reshape(len(patches), -1), zero)

    def mean(self, form: WeightedSum, x: np.ndarray) -> Statistics:
        """`statistics` of its form on raw inputs, without the covariance, which is what takes long."""
        taps = self.in_file_order(form.mean_patch(x) - form.input_zero_point)
        groups, own = form.weights.shape[:2]
        rows = np.moveaxis(taps.reshape(len(taps), groups, -1), 1, 0).reshape(groups, -1)
        return Statistics(np.repeat(rows, own, axis=0) if groups > 1 else rows[0], None)

    def in_file_order(self, taps: np.ndarray) -> np.ndarray:
        """What a form has for each of its taps, [..., taps, input channels], in the order of the file's weights."""
        return taps

    def can_choose(self, operator):
        return operator.subgraph == 0 and self.operands(operator)[1].data is not None

    def weight_error(self, before, after):
        return self.layer(before).weight_error(self.layer(after))


def is_float(*tensors: Tensor) -> bool:
    """Whether there is no integer accumulator: float and dynamic-range operators."""
    return any(t.type in ("FLOAT32", "FLOAT16") for t in tensors)
