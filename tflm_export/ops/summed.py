"""Operators without weights whose inputs are rescaled to the output's scale: factors `Si / Sy`."""

import numpy as np

from tflm_export import rescale, solver
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.ops.base import Declaration, Op, WorstCase, int8_problem, quantized_keys


class SummedOp(Op):
    """Base of ADD, MEAN and QUANTIZE."""

    min_inputs = 1

    def terms(self, operator: Operator) -> tuple[Tensor, ...]:
        """The inputs that are rescaled."""
        return operator.inputs[: self.min_inputs]

    def count(self, operator: Operator) -> int:
        """How many elements of one input are summed before the rescale."""
        return 1

    def declare(self, operator, graph):
        if self.factors(operator) is None:
            return Declaration(pins=quantized_keys(operator))
        problem = self.problem(operator)
        if problem:
            return Declaration(pins=quantized_keys(operator), reason=problem)
        constants = [t for t in self.terms(operator) if t.is_constant]
        return Declaration(
            node=solver.Sum(tuple(t.key for t in self.terms(operator)), operator.outputs[0].key),
            pins=tuple(t.key for t in constants if not graph.owns(t)),
            constants=tuple(t.key for t in constants if graph.owns(t)),
        )

    def problem(self, operator: Operator) -> str:
        """Why the operator cannot be narrowed, empty if it can."""
        return int8_problem(*self.terms(operator), operator.outputs[0])

    def factors(self, operator):
        terms, y = self.terms(operator), operator.outputs[0]
        if not y.is_quantized or not all(t.is_quantized for t in terms) or not y.scale > 0:
            return None
        return np.array([rescale.effective_scale(t.scale, 1.0, y.scale) for t in terms])

    def edit(self, operator, plan, edits):
        if plan.method == solver.KEEP:
            return
        scales = plan.scales
        for tensor in self.terms(operator):
            if tensor.is_constant and scales[tensor.key] != tensor.scale:
                ratio = tensor.scale / scales[tensor.key]
                integers = np.rint((tensor.data - float(tensor.zero_point)) * ratio) + tensor.zero_point
                edits.set(tensor.data_offset, tensor.data, np.clip(integers, -128, 127), f"constant {tensor.name}")

    def worst_case(self, operator, bits):
        """Terms are aligned to the largest shift and summed before the one rounding."""
        recovered = rescale.recover(self.factors(operator), bits)
        reach = [_reach(t) * self.count(operator) for t in self.terms(operator)]
        shift = recovered.shift.max()
        products = np.ldexp(np.array(reach, np.float64) * recovered.multiplier, shift - recovered.shift)
        total = products.sum() + np.ldexp(0.5, max(shift, 0))
        return WorstCase(np.array(reach, np.float64), np.full(len(reach), total))


def _reach(tensor: Tensor) -> int:
    """The largest |integer - zero point| of a tensor."""
    limits = np.iinfo(tensor.type.lower())
    return max(limits.max - tensor.zero_point, tensor.zero_point - limits.min)
