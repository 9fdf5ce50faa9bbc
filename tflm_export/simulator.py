"""Runs a model in integers, every tensor exactly as a runtime computes it. Knows no operator.

The operators' semantics are in `ops`, the arithmetic of their rescales in `rescale`. A batch of rows runs at once where
no operator mixes rows and nothing is kept from one inference to the next; otherwise row after row, as a device would.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from tflm_export import rescale
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer.model import Model, Operator, Tensor, parse
from tflm_export.ops import op_for
from tflm_export.ops.context import Context, Rounding, dtype_of

__all__ = ["Rounding", "Trace", "simulate", "unsupported"]


@dataclasses.dataclass(frozen=True)
class Trace:
    """All tensors of a simulated run.

    Attributes:
      model: the model that ran.
      tensors: what every input and computed tensor of the main subgraph held at the end, by `Tensor.key`: integers in
        the tensor's type, [rows * first dimension, other dimensions]; scalars are [rows].
    """

    model: Model
    tensors: dict[Hashable, np.ndarray]

    @property
    def outputs(self) -> tuple[np.ndarray, ...]:
        """The model's outputs, in its order."""
        return tuple(self[tensor] for tensor in self.model.subgraphs[0].outputs)

    def __getitem__(self, tensor: Tensor) -> np.ndarray:
        return self.tensors[tensor.key]


def unsupported(model: bytes | Model) -> list[str]:
    """What `simulate` cannot run of a model: one line for each operator, empty if it runs."""
    model = _parsed(model)
    problems = []
    for index in _reachable(model):
        for operator in model.subgraphs[index].operators:
            problem = _problem(operator)
            if problem:
                problems.append(f"{operator.label}: {problem}")
    return problems


def _problem(operator: Operator) -> str:
    op = op_for(operator)
    needed = operator.inputs[: op.run_inputs]
    if len(needed) < op.run_inputs or None in needed:
        return "it lacks inputs"
    return op.simulation_problem(operator)


def simulate(
    model: bytes | Model, inputs: np.ndarray | Sequence[np.ndarray], rounding: Rounding | str, bits: int | None = None
) -> Trace:
    """Runs a model on integer inputs.

    Args:
      model: a .tflite file, or its view.
      inputs: one array for each input of the model (a bare array where there is one), in the tensors' own types:
        [inferences * first dimension, other dimensions] with the tensor's dimensions.
      rounding: whose integers: "narrow", "tflm" or "tflite" (see `Rounding`).
      bits: width k that the model was narrowed to, for "narrow", 1 to 31; 31 where it is left out. Must be left out
        otherwise. Factors that the file does not hold on a grid of at most 16 bits keep 31 (`rescale.recover_held`).

    Returns:
      The Trace. State (resource variables, variable tensors) starts afresh with the call and goes on from one inference
      to the next. That a runtime has a kernel for an operator's types is not checked: TFLM has none for uint8.

    Raises:
      UsageError: inputs that do not fit the model, or rounding or bits out of range.
      ModelError: the model cannot be read, or has operators that cannot be run; all of them are named.
    """
    model = _parsed(model)
    try:
        rounding = Rounding(rounding)
    except ValueError:
        names = ", ".join(r.value for r in Rounding)
        raise UsageError(f"rounding must be one of {names}, got {rounding!r}") from None
    if bits is not None and rounding is not Rounding.NARROW:
        raise UsageError(
            f"bits is for rounding 'narrow'; {rounding.value!r} has multipliers of {rescale.MAX_BITS} bits"
        )
    bits = rescale.check_bits(rescale.MAX_BITS if bits is None else bits)
    if not model.subgraphs:
        raise ModelError("the model has no subgraph")
    problems = unsupported(model)
    if problems:
        raise ModelError(f"the model cannot be simulated: {'; '.join(problems)}")
    arrays, runs = _check_inputs(model, inputs)
    run = _Run(model, rounding, bits)
    if runs > 1 and _rows_are_independent(model):
        return Trace(model, run.once(arrays, runs))
    passes = [run.once([array[i] for array in _split(model, arrays, runs)], None) for i in range(runs)]
    numeric = [key for key, value in passes[0].items() if value.dtype.kind != "U"]  # no handles of variables
    return Trace(model, {key: np.concatenate([np.atleast_1d(values[key]) for values in passes]) for key in numeric})


def _parsed(model: bytes | Model) -> Model:
    return model if isinstance(model, Model) else parse(model)


def _check_inputs(model: Model, inputs) -> tuple[list[np.ndarray], int]:
    """The inputs as a list, and how many inferences they are."""
    tensors = model.subgraphs[0].inputs
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    if len(arrays) != len(tensors):
        raise UsageError(f"the model has {len(tensors)} inputs, got {len(arrays)} arrays")
    counts = set()
    for tensor, array in zip(tensors, arrays, strict=True):
        where = f"input {tensor.name}"
        if array.dtype != dtype_of(tensor):
            raise UsageError(f"{where} is {tensor.type}, got an array of {array.dtype}")
        first, rest = (tensor.shape or (1,))[0], tensor.shape[1:]
        if array.ndim < 1 or array.shape[1:] != rest or not first or not len(array) or len(array) % first:
            raise UsageError(
                f"{where} has shape {list(tensor.shape)}, with whole inferences along its first dimension; "
                f"got an array of shape {list(array.shape)}"
            )
        counts.add(len(array) // first)
    if len(counts) > 1:
        raise UsageError(f"the inputs hold different numbers of inferences: {sorted(counts)}")
    return arrays, counts.pop() if counts else 1


def _split(model: Model, arrays: list[np.ndarray], runs: int) -> list[np.ndarray]:
    """Inputs with a new first dimension, one inference each."""
    return [array.reshape(runs, *tensor.shape) for tensor, array in zip(model.subgraphs[0].inputs, arrays, strict=True)]


def _reachable(model: Model) -> list[int]:
    """The main subgraph, and those its operators call."""
    found, todo = [], [0] if model.subgraphs else []
    while todo:
        index = todo.pop()
        if index in found:
            continue
        if not 0 <= index < len(model.subgraphs):
            raise ModelError(f"the file is damaged: subgraph {index} of {len(model.subgraphs)} is called")
        found.append(index)
        todo += [i for operator in model.subgraphs[index].operators for i in op_for(operator).calls(operator)]
    return sorted(found)


def _rows_are_independent(model: Model) -> bool:
    """Whether a batch can stand in place of a first dimension of 1 throughout."""
    graph = model.subgraphs[0]
    computed = [*graph.inputs, *(t for operator in graph.operators for t in operator.outputs)]
    return all(t.shape[:1] == (1,) and not t.is_variable for t in computed) and not any(
        op_for(operator).mixes_rows(operator) or any(t is not None and t.is_variable for t in operator.inputs)
        for operator in graph.operators
    )


class _Run:
    """A model with its state."""

    def __init__(self, model: Model, rounding: Rounding, bits: int):
        self.model, self.rounding, self.bits = model, rounding, bits
        self.variables: dict[Hashable, np.ndarray] = {}

    def once(self, arrays: list[np.ndarray], rows: int | None) -> dict[Hashable, np.ndarray]:
        """All tensors of the main subgraph after one pass, over `rows` rows at once or over the shapes of the file."""
        tensors = self.model.subgraphs[0].inputs
        values = {t.key: a if rows else a.reshape(t.shape) for t, a in zip(tensors, arrays, strict=True)}
        self._pass(0, values, rows)
        return values

    def _pass(self, index: int, values: dict[Hashable, np.ndarray], rows: int | None) -> None:
        context = Context(self.rounding, self.bits, rows, self.variables, lambda i: self._pass(i, {}, None))
        for operator in self.model.subgraphs[index].operators:
            inputs = [self._value(operator, tensor, values) for tensor in operator.inputs]
            try:
                outputs = list(zip(operator.outputs, op_for(operator).run(operator, inputs, context), strict=True))
            except ModelError:
                raise
            except (ArithmeticError, IndexError, MemoryError, ValueError) as error:
                raise ModelError(f"the file is damaged: {operator.label} cannot run: {error}") from error
            for tensor, output in outputs:
                if rows and len(output) != rows:  # computed from constants alone
                    output = np.broadcast_to(output, (rows, *output.shape[1:]))
                values[tensor.key] = output

    def _value(self, operator: Operator, tensor: Tensor | None, values: dict) -> np.ndarray | None:
        if tensor is None:
            return None
        if tensor.key in values:
            return values[tensor.key]
        if tensor.data is not None:
            return tensor.data
        if tensor.is_variable:
            fresh = np.full(tensor.shape, tensor.zero_point if tensor.is_quantized else 0, dtype_of(tensor))
            return self.variables.setdefault(tensor.key, fresh)
        raise ModelError(f"the file is damaged: {operator.label} reads {tensor.name} before it is computed")
