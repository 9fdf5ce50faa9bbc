# SPDX-License-Identifier: Apache-2.0
"""A model in integers: what is between a parsed file and every back end."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.program.call import CallOnce
from tflm_export.program.form import Form, running
from tflm_export.program.value import Value


@dataclasses.dataclass(frozen=True)
class Origin:
    """The operator of the file that a form comes from.

    Attributes:
      subgraph, index: where it stands.
      name: "CONV_2D", ...
      output: the name of its first output.
      label: how messages name it.
    """

    subgraph: int
    index: int
    name: str
    output: str
    label: str

    @property
    def key(self) -> tuple[int, int]:
        """(subgraph, index): the operator's identity in the file."""
        return self.subgraph, self.index


AnyForm = TypeVar("AnyForm", bound=Form, covariant=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Step(Generic[AnyForm]):
    """A form in its place."""

    origin: Origin
    form: AnyForm

    def evaluate(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """The form's outputs.

        Raises:
          ModelError: the form cannot run on these inputs, or they or its outputs are not of the type and shape that it
            was made for; names the operator.
        """
        with running(self.origin.label):
            _check(self.form.inputs, inputs)  # variables of one name may differ; forms rely on what they were told
            arrays = self.form.evaluate(*inputs)
            _check(self.form.outputs, arrays)
            return arrays


def _check(values: Sequence[Value], arrays: Sequence[np.ndarray]) -> None:
    for value, array in zip(values, arrays, strict=True):
        if (array.shape[1:], array.dtype) != (value.shape, value.dtype):
            found = f"{array.dtype} {list(array.shape[1:])}"
            raise ValueError(f"{value.label} of {value.dtype} {list(value.shape)} is {found}")


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """A subgraph: forms in the order in which they run, and what goes in and comes out."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: tuple[Step, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A model in integers.

    Attributes:
      blocks: subgraphs by index, None for those that the main one (the first) does not reach.
    """

    blocks: tuple[Block | None, ...]

    @property
    def main(self) -> Block:
        """The block that an inference runs."""
        return self.blocks[0]

    @property
    def has_state(self) -> bool:
        """Whether an inference depends on those before it."""
        forms = [step.form for block in self.blocks if block is not None for step in block.steps]
        return any(isinstance(form, CallOnce) or any(v.is_variable for v in form.outputs) for form in forms)

    def run(self, inputs: Sequence[np.ndarray]) -> dict[Hashable, np.ndarray]:
        """All values of the main block, of variables those that are outputs, with state afresh.

        Args:
          inputs: an array for each input, [inferences, *shape], in its type.

        Returns:
          Arrays [inferences, *shape] by key. Inferences run all at once, or one after another where there is state.

        Raises:
          ModelError: a form cannot run, or what it reads or the program gives was not computed.
        """
        runs = len(inputs[0]) if inputs else 1
        if runs > 1 and not self.has_state:
            passes = [_Run(self).once(inputs)]
        else:
            run = _Run(self)
            passes = [run.once([array[i : i + 1] for array in inputs]) for i in range(runs)]
        if len(passes) == 1:
            whole = ((key, array, (runs, *array.shape[1:])) for key, array in passes[0].items())
            return {key: a if a.shape == shape else np.broadcast_to(a, shape) for key, a, shape in whole}
        return {key: np.concatenate([values[key] for values in passes]) for key in passes[0]}


class _Run:
    """A program with its state."""

    def __init__(self, program: Program):
        self.program = program
        self.variables: dict[Hashable, np.ndarray] = {}
        self.called: set[int] = set()

    def once(self, inputs: Sequence[np.ndarray]) -> dict[Hashable, np.ndarray]:
        values = {value.key: array for value, array in zip(self.program.main.inputs, inputs, strict=True)}
        self._block(self.program.main, values)
        for value in self.program.main.outputs:
            values[value.key] = self._value("the model", value, values)
        return values

    def _block(self, block: Block, values: dict) -> None:
        """Without recursion: a file may have blocks that call one another, thousands deep."""
        calls = [(iter(block.steps), values)]
        while calls:
            steps, values = calls[-1]
            step = next(steps, None)
            if step is None:
                calls.pop()
            elif not isinstance(step.form, CallOnce):
                self._step(step, values)
            elif step.form.block not in self.called:
                self.called.add(step.form.block)
                calls.append((iter(self.program.blocks[step.form.block].steps), {}))

    def _step(self, step: Step, values: dict) -> None:
        arrays = step.evaluate(*(self._value(step.origin.label, value, values) for value in step.form.inputs))
        for value, array in zip(step.form.outputs, arrays, strict=True):
            (self.variables if value.is_variable else values)[value.key] = array

    def _value(self, reader: str, value: Value, values: dict) -> np.ndarray:
        if value.is_variable:
            return self.variables.get(value.key, value.data[None])
        found = value.among(values)
        if found is not None:
            return found
        raise ModelError(f"the file is damaged: {reader} reads {value.label} before it is computed")
