# SPDX-License-Identifier: Apache-2.0
"""What an operator tells the rest of the package, and the registry of those that do."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from tflm_export.arithmetic import Arithmetic
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.grid import Grid
from tflm_export.ops.reference import Reference
from tflm_export.ops.statistics import Statistics
from tflm_export.program.form import Form
from tflm_export.program.value import value_of
from tflm_export.reason import Reason
from tflm_export.setting import KEEP
from tflm_export.solver import Product, Sum, Weighted

ACTIVATION_TYPES = ("INT8", "UINT8", "INT16")
COMPILED = ("CUSTOM:edgetpu-custom-op", "CUSTOM:ethos-u")  # what a compiler for an accelerator leaves of a model
SMALLEST_SCALE = 2.0**-60  # of an activation; far from where float32 quotients of scales lose digits


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What an operator asks of the scale solver.

    Attributes:
      nodes: its rescale factors as solver nodes; none where it has none that can be narrowed.
      ties: groups of tensors it needs at one common scale.
      pins: tensors whose scale it needs as it is.
      constants: constant inputs it can requantise.
      states: variable tensors that it alone uses, whose scale may move with its nodes.
      fixed: scales that its kernel has built in, by keys of its own choice that its nodes use.
      reason: why its rescales cannot be narrowed; empty where they can, or where it has none.
    """

    nodes: tuple[Weighted | Sum | Product, ...] = ()
    ties: tuple[tuple[Hashable, ...], ...] = ()
    pins: tuple[Hashable, ...] = ()
    constants: tuple[Hashable, ...] = ()
    states: tuple[Hashable, ...] = ()
    fixed: dict[Hashable, float] = dataclasses.field(default_factory=dict)
    reason: Reason | str = ""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What data said about a layer that keeps its weights.

    Attributes:
      factors: on the grid, float64 [1] or [channels].
      bias: integers in float64 [channels]; None where the layer has none.
    """

    factors: np.ndarray
    bias: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was decided for a model.

    Attributes:
      scales: the solved scale of every activation, by key.
      grid: what the operator's factors are put on.
      method: "requantize" or "keep".
      statistics: moments of the inputs of an operator with weights, None where they are not known; None without data.
      references: what weights are rounded from instead of what the file has for them, by key of their tensor.
      chosen: for "keep" with data, what was chosen for the operator; None where nothing was.
    """

    scales: dict[Hashable, float]
    grid: Grid
    method: str
    statistics: Callable[[Operator], Statistics | None] | None = None
    references: Mapping[Hashable, Reference] = dataclasses.field(default_factory=dict)
    chosen: Chosen | None = None

    @property
    def keeps_integers(self) -> bool:
        """Whether no integer may change: "keep" without data."""
        return self.method == KEEP and self.statistics is None and self.chosen is None


class Op:
    """An operator type. The defaults are those of an operator without rescales whose tensors must stay as they are.

    Attributes:
      min_inputs: how many of its first inputs cannot be left out.
      run_inputs: how many of them `lower` needs.
      rewrites_constants: whether `edit` writes to its constant inputs, so that it needs them for itself.
    """

    min_inputs = 0
    run_inputs = 1
    rewrites_constants = False

    def declare(self, operator: Operator, graph: Graph) -> Declaration:
        """Its factors, ties and pins."""
        return Declaration(pins=quantized_keys(operator))

    def factors(self, operator: Operator) -> np.ndarray | None:
        """The real rescale factors as the runtimes derive them from the file's scales; float64 [factors].

        None where the operator has no rescale in this model (float, or integers without scales).
        """
        return None

    def edit(self, operator: Operator, plan: Plan, edits: Edits) -> None:
        """Writes what follows from the solved activation scales: weight scales, weights, biases, constants."""

    def statistics(self, operator: Operator, inputs: list) -> Statistics | None:
        """Moments of what its weights are multiplied with; only for operators with weights.

        Args:
          operator: the operator.
          inputs: integers of its inputs over a batch of rows; None for those that are not known.

        Returns:
          The moments; None where that input is not known.
        """
        raise NotImplementedError

    def can_choose(self, operator: Operator) -> bool:
        """Whether it is one layer with constant weights, so that factors and bias can be chosen for it alone."""
        return False

    def weight_error(self, before: Operator, after: Operator) -> float:
        """Largest relative RMS change of the real weights of a channel; 0 where there are none."""
        return 0.0

    def step_noise(self, before: Operator, after: Operator) -> float | None:
        """What coarser steps of an addition's inputs and output add to it (RMS, in steps of the stock output).

        None where the operator is no addition.
        """
        return None

    def gain_error(self, before: Operator, after: Operator) -> float:
        """Largest |gain - 1| of a factor that "requantize" too rounds with nothing to make up for it."""
        return 0.0

    def lower(self, operator: Operator, arithmetic: Arithmetic) -> tuple[Form, ...]:
        """The integers that compute it; only where there is no `lowering_problem`.

        Args:
          operator: the operator.
          arithmetic: whose integers.

        Raises:
          ModelError: the file is damaged.
          ValueError, IndexError, ArithmeticError: likewise, without a name.
        """
        raise NotImplementedError

    def lowering_problem(self, operator: Operator) -> str:
        """Why it has no integer form, empty if it has."""
        return "" if type(self).lower is not Op.lower else f"{operator.name} is not simulated"

    def calls(self, operator: Operator) -> tuple[int, ...]:
        """The subgraphs it runs."""
        return ()


class RescalingOp(Op):
    """Base of operators that can be narrowed: pinned where one has no rescale in a model, or a problem with it."""

    def declare(self, operator, graph):
        if not self.rescales(operator):
            return Declaration(pins=quantized_keys(operator))
        problem = self.problem(operator, graph)
        if problem:
            return Declaration(pins=quantized_keys(operator), reason=problem)
        return self.declaration(operator, graph)

    def rescales(self, operator: Operator) -> bool:
        """Whether it has a rescale in this model; float operators have none."""
        return self.factors(operator) is not None

    def problem(self, operator: Operator, graph: Graph) -> Reason | str:
        """Why a rescale cannot be narrowed, empty if it can."""
        raise NotImplementedError

    def declaration(self, operator: Operator, graph: Graph) -> Declaration:
        """Factors, ties and pins where there is no problem."""
        raise NotImplementedError


class Unsupported(Op):
    """An operator this package does not know: pinned, and reported if it touches quantised tensors."""

    def declare(self, operator, graph):
        pins = quantized_keys(operator)
        reason = ""
        if operator.name in COMPILED:
            reason = f"{operator.name} was compiled for an accelerator; narrow the model before compiling it"
        elif pins:
            reason = f"{operator.name} is not supported yet"
        return Declaration(pins=pins, reason=reason)


_REGISTRY: dict[str, Op] = {}
_UNSUPPORTED = Unsupported()


def register(*names: str):
    """Class decorator: makes the class answer for the operators of these names."""

    def add(cls):
        for name in names:
            _REGISTRY[name] = cls()
        return cls

    return add


def known() -> tuple[str, ...]:
    """The names of the operators that a class answers for."""
    return tuple(sorted(_REGISTRY))


def one(form: type[Form], operator: Operator, tensors: tuple[Tensor, ...], **fields: Any) -> tuple[Form]:
    """An operator as one form of these inputs."""
    inputs, outputs = tuple(map(value_of, tensors)), (value_of(operator.outputs[0]),)
    return (form(inputs=inputs, outputs=outputs, **fields),)


def op_for(operator: Operator) -> Op:
    """The Op that answers for an operator of a model.

    Raises:
      ModelError: the operator lacks inputs or outputs that its type cannot do without.
    """
    op = _REGISTRY.get(operator.name, _UNSUPPORTED)
    given = operator.inputs[: op.min_inputs]
    if len(given) < op.min_inputs or None in given or (op.min_inputs and not operator.outputs):
        raise ModelError(f"the file is damaged: {operator.label} lacks inputs or outputs")
    return op


def quantized_tensors(operator: Operator) -> list[Tensor]:
    """All quantised tensors an operator touches."""
    return [t for t in (*operator.inputs, *operator.outputs) if t is not None and t.is_quantized]


def quantized_keys(operator: Operator) -> tuple:
    """Keys of all quantised tensors an operator touches."""
    return tuple(tensor.key for tensor in quantized_tensors(operator))


def activation_problem(*tensors: Tensor, types=ACTIVATION_TYPES) -> Reason | str:
    """Why tensors cannot be the activations, all of one type, of a narrowed operator; empty if they can."""
    if len({tensor.type for tensor in tensors}) > 1:
        listed = dict.fromkeys(f"{t.label} is {t.type}" for t in tensors)
        obstacle = "one type is needed for all"
        return Reason(f"{', '.join(listed)}; {obstacle}", obstacle)
    return scale_problem(*tensors, types=types)


def scale_problem(*tensors: Tensor, types=ACTIVATION_TYPES, symmetric_int16: bool = True) -> Reason | str:
    """Why tensors cannot be activations of a narrowed operator; empty if they can.

    Args:
      tensors: the activations.
      types: that the operator takes.
      symmetric_int16: whether INT16 must have zero point 0.
    """
    for tensor in tensors:
        obstacle = _scale_obstacle(tensor, types, symmetric_int16)
        if obstacle:
            return Reason.about(tensor.label, obstacle)
    return ""


def _scale_obstacle(tensor: Tensor, types, symmetric_int16: bool) -> str:
    if tensor.type not in types:
        return f"is {tensor.type}; {' or '.join(types)} is needed"
    if tensor.quantization is None:
        return "has no scale"
    if tensor.quantization.scale.values.size != 1:
        return "is quantised per channel, which no kernel takes"
    if not SMALLEST_SCALE <= tensor.scale <= 1 / SMALLEST_SCALE:
        return f"has scale {tensor.scale:g}, outside {SMALLEST_SCALE:g}..{1 / SMALLEST_SCALE:g}"
    limits = np.iinfo(tensor.type.lower())
    if not limits.min <= tensor.zero_point <= limits.max:
        return f"has zero point {tensor.zero_point}, outside {tensor.type}"
    if tensor.type == "INT16" and tensor.zero_point and symmetric_int16:
        return f"has zero point {tensor.zero_point}; INT16 activations are symmetric"
    return ""
