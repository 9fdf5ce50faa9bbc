# SPDX-License-Identifier: Apache-2.0
"""Operators that multiply two activations: one factor `Sa * Sb / Sy`."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.ops.base import ACTIVATION_TYPES, Declaration, RescalingOp, activation_problem
from tflm_export.ops.constants import constant_keys, requantise_constants


class ProductOp(RescalingOp):
    """Base of MUL and BATCH_MATMUL.

    Attributes:
      types: of the activations.
    """

    rewrites_constants = True
    min_inputs = 2
    run_inputs = 2
    types = ACTIVATION_TYPES

    def problem(self, operator, graph):
        return activation_problem(*operator.inputs[:2], operator.outputs[0], types=self.types)

    def declaration(self, operator, graph):
        operands, y = operator.inputs[:2], operator.outputs[0]
        owned, pinned = constant_keys(graph, operands)
        node = solver.Product(tuple(t.key for t in operands), y.key)
        return Declaration(nodes=(node,), pins=pinned, constants=owned)

    def factors(self, operator):
        (a, b), y = operator.inputs[:2], operator.outputs[0]
        if not (a.is_quantized and b.is_quantized and y.is_quantized and y.scale > 0):
            return None
        return np.array([rescale.effective_scale(a.scale, b.scale, y.scale)])

    def edit(self, operator, plan, edits):
        requantise_constants(operator.inputs[:2], plan, edits)
