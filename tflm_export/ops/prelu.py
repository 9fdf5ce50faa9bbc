# SPDX-License-Identifier: Apache-2.0
"""PRELU: Sx/Sy above the zero point, Sx*Salpha/Sy below, times the alpha of the element."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.ops.base import Declaration, activation_problem, one, register
from tflm_export.ops.constants import constant_keys, requantise_constants
from tflm_export.ops.unary import Unary
from tflm_export.program.requantize import Prelu as PreluForm


@register("PRELU")
class Prelu(Unary):
    """Sx/Sy above the zero point, Sx*Salpha/Sy below, times the alpha of the element."""

    run_inputs = 2
    min_inputs = 2
    types = ("INT8", "UINT8")

    def terms(self, operator):
        return operator.inputs[:1]

    def problem(self, operator, graph):
        return activation_problem(*operator.inputs[:2], operator.outputs[0], types=self.types)

    def declare(self, operator, graph):
        declaration = super().declare(operator, graph)
        if not declaration.nodes:
            return declaration
        x, alpha = operator.inputs[:2]
        product = solver.Product((x.key, alpha.key), operator.outputs[0].key)
        owned, pinned = constant_keys(graph, (alpha,))
        return Declaration(nodes=(*declaration.nodes, product), pins=pinned, constants=owned)

    def factors(self, operator):
        identity, alpha = super().factors(operator), operator.inputs[1]
        if identity is None or not alpha.is_quantized:
            return None
        x, y = operator.inputs[0], operator.outputs[0]
        return np.array([identity[0], rescale.effective_scale(x.scale, alpha.scale, y.scale)])

    def edit(self, operator, plan, edits):
        requantise_constants(operator.inputs[1:2], plan, edits)

    def lower(self, operator, arithmetic):
        """Source: tensorflow/lite/kernels/internal/reference/prelu.h."""
        (x, alpha), y = operator.inputs, operator.outputs[0]
        return one(
            PreluForm,
            operator,
            (x, alpha),
            zero_points=(x.zero_point, alpha.zero_point),
            above=arithmetic.rescale(arithmetic.quotient(x.scale, y.scale)),
            below=arithmetic.rescale(arithmetic.product(x.scale, alpha.scale, y.scale)),
            zero_point=y.zero_point,
        )
