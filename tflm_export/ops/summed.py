# SPDX-License-Identifier: Apache-2.0
"""Operators without weights whose inputs are rescaled to the output's scale: factors `Si / Sy`."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.arithmetic import Terms
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import AddOptions, SubOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.grid import POWERS_OF_TWO
from tflm_export.ops.activations import fused_activation, target_of
from tflm_export.ops.base import Declaration, RescalingOp, activation_problem, quantized_keys
from tflm_export.ops.constants import constant_keys, requantise_constants
from tflm_export.ops.elementwise import elementwise_problem, plain_int32
from tflm_export.program.value import value_of


class SummedOp(RescalingOp):
    """Base of ADD, SUB, MEAN, QUANTIZE and RELU."""

    rewrites_constants = True
    min_inputs = 1

    def terms(self, operator: Operator) -> tuple[Tensor, ...]:
        """The inputs that are rescaled."""
        return operator.inputs[: self.min_inputs]

    def declaration(self, operator, graph):
        owned, pinned = constant_keys(graph, self.terms(operator))
        return Declaration(
            nodes=(solver.Sum(tuple(t.key for t in self.terms(operator)), operator.outputs[0].key),),
            pins=pinned,
            constants=owned,
        )

    def problem(self, operator, graph):
        return activation_problem(*self.terms(operator), operator.outputs[0])

    def factors(self, operator):
        terms, y = self.terms(operator), operator.outputs[0]
        if not y.is_quantized or not all(t.is_quantized for t in terms) or not y.scale > 0:
            return None
        return np.array([rescale.effective_scale(t.scale, 1.0, y.scale) for t in terms])

    def edit(self, operator, plan, edits):
        requantise_constants(self.terms(operator), plan, edits)


class TermsOp(SummedOp):
    """Base of ADD and SUB.

    Attributes:
      options: fields of its option table.
      sign: 1 or -1, of the second term.
    """

    min_inputs = 2
    run_inputs = 2
    options: type[AddOptions | SubOptions] = AddOptions
    sign = 1

    def declare(self, operator, graph):
        # LiteRT shifts int16 terms instead of rescaling them, and insists on powers of two.
        if operator.outputs[0].type == "INT16" and operator.option(self.options.POT_SCALE_INT16, UINT8, 1):
            narrow = self.factors(operator) is None or POWERS_OF_TWO.contains(self.factors(operator)).all()
            reason = "" if narrow else "its option pot_scale_int16 is set, but its scales are no powers of two"
            return Declaration(pins=quantized_keys(operator), reason=reason)
        return super().declare(operator, graph)

    def step_noise(self, before, after):
        """Each tensor is rounded to its own steps, an error of S^2/12; the three are independent."""
        scales = [np.array([t.scale for t in (*self.terms(o), o.outputs[0])]) for o in (before, after)]
        added = (np.square(scales[1]) - np.square(scales[0])).sum() / 12
        return float(np.sqrt(max(added, 0.0)) / before.outputs[0].scale)

    def lower(self, operator, arithmetic):
        (a, b), y = operator.inputs, operator.outputs[0]
        activation = fused_activation(operator, self.options.ACTIVATION)
        if y.type == "INT32":
            return (plain_int32("add" if self.sign > 0 else "subtract", operator, activation),)
        values, zero_points = (value_of(a), value_of(b)), (a.zero_point, b.zero_point)
        terms = Terms(values, (a.scale, b.scale), zero_points, (1, self.sign), self.factors(operator))
        return (arithmetic.sum(terms, target_of(y, activation)),)

    def lowering_problem(self, operator):
        return elementwise_problem(operator, fused_activation(operator, self.options.ACTIVATION))
