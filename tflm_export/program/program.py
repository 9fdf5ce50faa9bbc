# SPDX-License-Identifier: Apache-2.0
"""A model in integers: what is between a parsed file and every back end."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.program.call import CallOnce
from tflm_export.program.form import Form
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


AnyForm = TypeVar("AnyForm", bound=Form, covariant=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Step(Generic[AnyForm]):
    """A form in its place."""

    origin: Origin
    form: AnyForm

    def evaluate(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """The form's outputs.

        Raises:
          ModelError: the form cannot run on these inputs; names the operator.
        """
        try:
            return self.form.evaluate(*inputs)
        except ModelError:
            raise
        except (ArithmeticError, IndexError, MemoryError, ValueError) as error:
            raise ModelError(f"the file is damaged: {self.origin.label} cannot run: {error}") from error


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
        """All values of the main block, variables apart, with state afresh.

        Args:
          inputs: an array for each input, [inferences, *shape], in its type.

        Returns:
          Arrays [inferences, *shape] by key. Inferences run all at once, or one after another where there is state.

        Raises:
          ModelError: a form cannot run, or reads what was not computed.
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
        return values

    def _block(self, block: Block, values: dict) -> None:
        for step in block.steps:
            form = step.form
            if isinstance(form, CallOnce):
                if form.block not in self.called:
                    self.called.add(form.block)
                    self._block(self.program.blocks[form.block], {})
                continue
            arrays = step.evaluate(*(self._value(step, value, values) for value in form.inputs))
            for value, array in zip(form.outputs, arrays, strict=True):
                (self.variables if value.is_variable else values)[value.key] = array

    def _value(self, step: Step, value: Value, values: dict) -> np.ndarray:
        if value.is_variable:
            return self.variables.get(value.key, value.data[None])
        if value.key in values:
            return values[value.key]
        if value.data is not None:
            return value.data[None]
        raise ModelError(f"the file is damaged: {step.origin.label} reads {value.name} before it is computed")
