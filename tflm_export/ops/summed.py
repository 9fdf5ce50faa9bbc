"""Operators without weights whose inputs are rescaled to the output's scale: factors `Si / Sy`."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.options import AddOptions, SubOptions
from tflm_export.flatbuffer.reader import UINT8
from tflm_export.ops.base import Declaration, RescalingOp, WorstCase, activation_problem, quantized_keys, reach
from tflm_export.ops.constants import constant_keys, requantise_constants


class SummedOp(RescalingOp):
    """Base of ADD, SUB, MEAN, QUANTIZE and RELU."""

    rewrites_constants = True
    min_inputs = 1

    def terms(self, operator: Operator) -> tuple[Tensor, ...]:
        """The inputs that are rescaled."""
        return operator.inputs[: self.min_inputs]

    def count(self, operator: Operator) -> int:
        """How many elements of one input are summed before the rescale."""
        return 1

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

    def worst_case(self, operator, bits):
        """Terms are aligned to the largest shift and summed before the one rounding."""
        recovered = rescale.recover(self.factors(operator), bits)
        reaches = np.array([reach(t) * self.count(operator) for t in self.terms(operator)], np.float64)
        shift = recovered.shift.max()
        products = np.ldexp(reaches * recovered.multiplier, shift - recovered.shift)
        total = products.sum() + np.ldexp(0.5, max(shift, 0))
        return WorstCase(reaches, np.full(len(reaches), total))


class TermsOp(SummedOp):
    """Base of ADD and SUB.

    Attributes:
      options: fields of its option table.
    """

    min_inputs = 2
    run_inputs = 2
    options: type[AddOptions | SubOptions] = AddOptions

    def declare(self, operator, graph):
        # LiteRT shifts int16 terms instead of rescaling them, and insists on powers of two.
        if operator.outputs[0].type == "INT16" and operator.option(self.options.POT_SCALE_INT16, UINT8, 1):
            narrow = self.factors(operator) is None or rescale.is_narrow(self.factors(operator), 1).all()
            reason = "" if narrow else "its option pot_scale_int16 is set, but its scales are no powers of two"
            return Declaration(pins=quantized_keys(operator), reason=reason)
        return super().declare(operator, graph)
