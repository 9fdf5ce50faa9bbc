# SPDX-License-Identifier: Apache-2.0
"""Runs a model in integers, every tensor exactly as a runtime computes it: its program, on arrays."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from tflm_export import lowering
from tflm_export.arithmetic import Arithmetic, LiteRTReference, Narrow, Tflm
from tflm_export.errors import UsageError
from tflm_export.flatbuffer.model import Model, Tensor, parse
from tflm_export.grid import Grid, grid_of
from tflm_export.program.value import dtype_of

__all__ = ["ARITHMETICS", "Trace", "arithmetic_of", "simulate", "unsupported"]

ARITHMETICS = {"narrow": Narrow(), "tflm": Tflm(), "tflite": LiteRTReference()}


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
    return lowering.unsupported(_parsed(model))


def arithmetic_of(rounding: Arithmetic | str, bits: int | str | Grid | None = None) -> Arithmetic:
    """An arithmetic by its name.

    Args:
      rounding: one of ARITHMETICS, or an arithmetic, which is taken as it is.
      bits: width k that the model was narrowed to, for "narrow", 1 to 31, or another grid; 31 where it is left out.
        Must be left out otherwise.

    Raises:
      UsageError: rounding or bits out of range.
    """
    if isinstance(rounding, Arithmetic):
        found = rounding
    elif rounding in ARITHMETICS:
        found = ARITHMETICS[rounding]
    else:
        raise UsageError(f"rounding must be one of {', '.join(ARITHMETICS)}, got {rounding!r}")
    if bits is None:
        return found
    if found != ARITHMETICS["narrow"]:
        raise UsageError(f"bits is for rounding 'narrow'; {rounding} says itself how wide its multipliers are")
    return Narrow(grid_of(bits))


def simulate(
    model: bytes | Model,
    inputs: np.ndarray | Sequence[np.ndarray],
    rounding: Arithmetic | str,
    bits: int | str | Grid | None = None,
) -> Trace:
    """Runs a model on integer inputs.

    Args:
      model: a .tflite file, or its view.
      inputs: one array for each input of the model (a bare array where there is one), in the tensors' own types:
        [inferences * first dimension, other dimensions] with the tensor's dimensions.
      rounding: whose integers: "narrow" (this package's kernels), "tflm" (TensorFlow Lite Micro), "tflite" (LiteRT's
        reference kernels), or an `Arithmetic`.
      bits: width k that the model was narrowed to, for "narrow", 1 to 31, or another grid; 31 where it is left out.
        Must be left out otherwise. Factors that the file does not hold on a grid of at most 16 bits keep 31
        (`rescale.recover_held`).

    Returns:
      The Trace. State (resource variables, variable tensors) starts afresh with the call and goes on from one inference
      to the next. That a runtime has a kernel for an operator's types is not checked: TFLM has none for uint8.

    Raises:
      UsageError: inputs that do not fit the model, or rounding or bits out of range.
      ModelError: the model cannot be read, or has operators that cannot be run; all of them are named.
    """
    model = _parsed(model)
    program = lowering.lower(model, arithmetic_of(rounding, bits))
    values = program.run(check_inputs(model, inputs))
    tensors = {}
    for tensor in model.subgraphs[0].tensors:
        if tensor.key in values:
            array = values[tensor.key]
            tensors[tensor.key] = (
                array.reshape(len(array) * array.shape[1], *array.shape[2:]) if array.ndim > 1 else array
            )
    return Trace(model, tensors)


def _parsed(model: bytes | Model) -> Model:
    return model if isinstance(model, Model) else parse(model)


def check_inputs(model: Model, inputs: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """The inputs that `simulate` takes as [inferences, *shape].

    Raises:
      UsageError: they do not fit the model.
    """
    tensors = model.subgraphs[0].inputs
    arrays = [inputs] if isinstance(inputs, np.ndarray) else [np.asarray(array) for array in inputs]
    if len(arrays) != len(tensors):
        raise UsageError(f"the model has {len(tensors)} inputs, got {len(arrays)} arrays")
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
    counts = [len(array) // (tensor.shape or (1,))[0] for tensor, array in zip(tensors, arrays, strict=True)]
    if len(set(counts)) > 1:
        raise UsageError(f"the inputs hold different numbers of inferences: {sorted(set(counts))}")
    return [array.reshape(n, *tensor.shape) for n, tensor, array in zip(counts, tensors, arrays, strict=True)]
