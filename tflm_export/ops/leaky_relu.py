# SPDX-License-Identifier: Apache-2.0
"""LEAKY_RELU: Sx/Sy above the zero point, alpha*Sx/Sy below."""

import dataclasses

import numpy as np

from tflm_export import rescale
from tflm_export.flatbuffer.options import LeakyReluOptions
from tflm_export.flatbuffer.reader import FLOAT32
from tflm_export.ops.base import SMALLEST_SCALE, Declaration, quantized_keys, register
from tflm_export.ops.unary import Unary, requantize


def _alpha(operator) -> float:
    """The slope of a LEAKY_RELU."""
    return operator.option(LeakyReluOptions.ALPHA, FLOAT32, 0.0)


@register("LEAKY_RELU")
class LeakyRelu(Unary):
    """Sx/Sy above the zero point, alpha*Sx/Sy below.

    Alpha is an option of the operator and is rewritten to the nearest value whose factor is narrow.
    """

    def declare(self, operator, graph):
        alpha = _alpha(operator)
        problem = ""
        if not abs(alpha) <= 1 / SMALLEST_SCALE:
            problem = f"its alpha is {alpha:g}, outside +-{1 / SMALLEST_SCALE:g}"
        elif alpha and not graph.owns_options(operator):
            problem = "its options are shared with another operator"
        if problem and all(t.is_quantized for t in (operator.inputs[0], *operator.outputs)):
            return Declaration(pins=quantized_keys(operator), reason=problem)
        return super().declare(operator, graph)

    def factors(self, operator):
        identity = super().factors(operator)
        alpha = abs(_alpha(operator))
        if identity is None or not alpha <= 1 / SMALLEST_SCALE:
            return None
        slope = identity[0] * alpha
        # The runtimes flush factors this small to 0.
        return np.array([identity[0], slope if rescale.quantize_multiplier(slope).multiplier else 0.0])

    def edit(self, operator, plan, edits):
        x, y = operator.inputs[0], operator.outputs[0]
        alpha = _alpha(operator)
        _, stock = self.factors(operator)
        if not stock:
            return
        identity = plan.scales[x.key] / plan.scales[y.key]
        factor = identity * abs(alpha)
        target = plan.grid.snap(stock if plan.keeps_integers else factor, "nearest")
        if not np.isclose(target, factor, rtol=rescale.FLOAT32_TOLERANCE, atol=0):
            new = np.array([np.copysign(target / identity, alpha)])
            offset = operator.option_offset(LeakyReluOptions.ALPHA)
            edits.set(offset, np.array([alpha], np.float32), new, f"alpha of {y.name}")

    def gain_error(self, before, after):
        old, new = _alpha(before), _alpha(after)
        return abs(new / old - 1) if old else 0.0

    def lower(self, operator, arithmetic):
        """Source: QuantizeLeakyRelu in tensorflow/lite/kernels/internal/reference/leaky_relu.h."""
        x, y = operator.inputs[0], operator.outputs[0]
        slope = arithmetic.product(x.scale, _alpha(operator), y.scale)
        form = requantize(operator, arithmetic)
        return (dataclasses.replace(form, below=arithmetic.rescale(abs(slope)), below_sign=-1 if slope < 0 else 1),)
