# SPDX-License-Identifier: Apache-2.0
"""Means of what a model's weights are multiplied with, over a few inputs: one pass that keeps nothing else."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from tflm_export.arithmetic import Tflm
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.lowering import forms_of, lowering_problem, origin_of, require_moderate
from tflm_export.ops import op_for
from tflm_export.ops.statistics import Statistics
from tflm_export.ops.weighted import WeightedOp
from tflm_export.program.call import CallOnce, Handle
from tflm_export.program.form import Form, running
from tflm_export.program.program import Step
from tflm_export.program.weighted_sum import WeightedSum

PER_ELEMENT = 64  # multiplications of weights in the time that an output takes otherwise, about


@dataclasses.dataclass(frozen=True)
class InputMeans:
    """What was found.

    Attributes:
      statistics: means, without covariances, by (subgraph, index) of the operator.
      problem: why the first operator that could not be run could not; empty where all could.
    """

    statistics: dict[tuple[int, int], Statistics]
    problem: str


def input_means(model: Model, draw: Callable[[], Sequence[np.ndarray]]) -> InputMeans:
    """Means of the inputs of the main subgraph's operators with weights, as TensorFlow Lite Micro computes them.

    All that can be known: not what depends on an operator without an integer form, or on a state.

    Args:
      model: the model.
      draw: gives one array for each of its inputs, [inferences, *shape], in the tensors' types; not called where the
        model is too large to be run.
    """
    try:
        require_moderate(model)
    except ModelError as error:
        return InputMeans({}, str(error))
    operators = model.subgraphs[0].operators
    last = max((i for i, operator in enumerate(operators) if isinstance(op_for(operator), WeightedOp)), default=-1)
    once, problem = _Pass(model, draw()), ""
    for operator in operators[: last + 1]:
        try:
            once.run(operator)
        except ModelError as error:
            problem = problem or str(error)
        once.forget(operator)
    return InputMeans(once.statistics, problem)


def work(model: Model) -> int:
    """What an inference takes, about: multiplications of weights, and `PER_ELEMENT` more for each input and result."""
    graph = model.subgraphs[0]
    total = PER_ELEMENT * sum(max(0, math.prod(tensor.shape)) for tensor in graph.inputs)
    for operator in graph.operators:
        op, size = op_for(operator), sum(max(0, math.prod(tensor.shape)) for tensor in operator.outputs)
        taps = 0
        if isinstance(op, WeightedOp):
            weights = op.operands(operator)[1]
            channels = math.prod(operator.outputs[0].shape[-1:])
            taps = max(0, math.prod(weights.shape)) // max(1, channels)
        total += size * (PER_ELEMENT + taps)
    return total


class _Pass:
    """Operators in the order of the file, with what they computed for as long as one of them is going to read it."""

    def __init__(self, model: Model, inputs: Sequence[np.ndarray]):
        graph = model.subgraphs[0]
        self.known: dict[Hashable, np.ndarray] = dict(zip((t.key for t in graph.inputs), inputs, strict=True))
        self.last = {t.key: operator.index for operator in graph.operators for t in operator.inputs if t is not None}
        self.statistics: dict[tuple[int, int], Statistics] = {}

    def run(self, operator: Operator) -> None:
        """Adds what an operator computes, where that can be known, to what is known.

        Raises:
          ModelError: it cannot.
        """
        problem = lowering_problem(operator)
        if problem:
            raise ModelError(f"{operator.label}: {problem}")
        known = self.known.copy()
        for form in forms_of(operator, Tflm()):
            arrays = _inputs(form, known)
            if arrays is None:
                return
            if isinstance(form, (CallOnce, Handle)) or any(v.is_variable for v in (*form.inputs, *form.outputs)):
                raise ModelError(f"{operator.label} has a state")
            with running(operator.label):
                form.require_moderate()
                self._measure(operator, form, arrays)
            outputs = Step(origin_of(operator), form).evaluate(*arrays)
            known.update(zip((value.key for value in form.outputs), outputs, strict=True))
        self.known.update((t.key, known[t.key]) for t in operator.outputs if t.key in known)

    def _measure(self, operator: Operator, form: Form, arrays: list[np.ndarray]) -> None:
        op = op_for(operator)
        if isinstance(op, WeightedOp) and isinstance(form, WeightedSum):
            self.statistics[operator.key] = op.mean(form, arrays[0])

    def forget(self, operator: Operator) -> None:
        """Drops what no operator to come reads."""
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and self.last.get(tensor.key, -1) <= operator.index:
                self.known.pop(tensor.key, None)


def _inputs(form: Form, known: dict[Hashable, np.ndarray]) -> list[np.ndarray] | None:
    """What a form reads; None where some of it is not known."""
    arrays = [value.among(known) for value in form.inputs]
    return None if any(array is None for array in arrays) else [a for a in arrays if a is not None]
