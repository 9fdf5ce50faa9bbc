# SPDX-License-Identifier: Apache-2.0
"""What operators with several layers of weights and a state share."""

from collections.abc import Sequence

from tflm_export.flatbuffer.model import Operator
from tflm_export.graph import Graph
from tflm_export.ops.base import RescalingOp
from tflm_export.ops.layer import Layer


class RecurrentOp(RescalingOp):
    """Base of SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM."""

    rewrites_constants = True

    def layers(self, operator: Operator) -> Sequence[Layer]:
        """Its layers, in the order of its factors."""
        raise NotImplementedError

    def layers_problem(self, operator: Operator, graph: Graph):
        """Why one of its layers cannot be requantised, empty if all can."""
        return next((p for p in (layer.problem(graph) for layer in self.layers(operator)) if p), "")

    def edit(self, operator, plan, edits):
        for layer in self.layers(operator):
            layer.edit(plan, edits)

    def weight_error(self, before, after):
        pairs = zip(self.layers(before), self.layers(after), strict=True)
        return max(old.weight_error(new) for old, new in pairs)
