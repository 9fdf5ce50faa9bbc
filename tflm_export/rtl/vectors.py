# SPDX-License-Identifier: Apache-2.0
"""What the blocks get in inferences of the simulator, and what they have to give."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tflm_export.errors import UsageError
from tflm_export.grid import Grid
from tflm_export.program.program import Program
from tflm_export.rtl.channels import Channels
from tflm_export.rtl.design import Design, design, program_of
from tflm_export.rtl.rescaled import Rescaled


@dataclasses.dataclass(frozen=True, eq=False)
class RescaleVectors:
    """All that one `narrow_rescale` computes in some inferences; int64 [vectors] each but for the channel.

    Attributes:
      rescaled: which step it is of.
      channel: int32.
      model_accumulator: the final sum as the simulator has it, with the model's bias.
      expected: the output that the simulator computed from it.
    """

    rescaled: Rescaled
    channel: np.ndarray
    model_accumulator: np.ndarray
    expected: np.ndarray

    @property
    def sum_of_products(self) -> np.ndarray:
        """What the bias is added to."""
        return self.model_accumulator - self.rescaled.accumulation.bias[self.channel]

    @property
    def accumulator(self) -> np.ndarray:
        """What the rescaler gets; within the accumulator's bits but where a channel's own limits are one output."""
        return self.model_accumulator + self.rescaled.channels.offset[self.channel]

    @property
    def numbers(self) -> Channels:
        """Multiplier, shift, zero point, low and high of each vector."""
        return self.rescaled.channels[self.channel]

    def __len__(self) -> int:
        return len(self.channel)


def rescale_vectors(design: Design, program: Program, inputs: Sequence[np.ndarray]) -> Iterator[RescaleVectors]:
    """Every rescale of some inferences, step by step.

    Args:
      design: of the program.
      program: the program.
      inputs: an array for each input of the program, [inferences, *shape], in its type.

    Raises:
      ModelError: the program cannot run.
    """
    values = program.run(inputs)
    for rescaled in design.rescaled:
        step = rescaled.step
        arrays = [value.among(values) for value in step.form.inputs]
        accumulator, channel, where = rescaled.accumulation.chosen(step.form, *arrays)
        output = values[step.form.output.key]
        rows = max(map(len, arrays))  # one where all inputs are constant
        yield RescaleVectors(rescaled, channel, accumulator, output[:rows].reshape(-1)[where].astype(np.int64))


def random_inputs(program: Program, inferences: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Inputs of any integers of their types (float32: from -1 to 1), the same in every run.

    Args:
      program: whose inputs.
      inferences: how many.
      seed: of the generator.

    Raises:
      UsageError: inferences is less than 1.
    """
    if inferences < 1:
        raise UsageError(f"vectors are of at least one inference, got {inferences}")
    generator, arrays = np.random.default_rng(seed), []
    for value in program.main.inputs:
        shape = (inferences, *value.shape)
        if value.dtype.kind == "f":
            arrays.append(generator.uniform(-1, 1, shape).astype(value.dtype))
        else:
            low, high = value.limits
            arrays.append(generator.integers(low, high, shape, value.dtype, endpoint=True))
    return arrays


def vectors_of(
    data: bytes, grid: Grid, inputs: Sequence[np.ndarray] | None = None, inferences: int = 1
) -> Iterator[RescaleVectors]:
    """Every rescale that hardware computes in some inferences of a narrowed model.

    Args:
      data: a .tflite file.
      grid: that of its widest multiplier.
      inputs: an array for each input that the program takes, [inferences, *shape], in its type; None for random ones.
      inferences: how many random ones.

    Raises:
      ModelError: as `program_of` and `design`.
      UsageError: as `design` and `random_inputs`.
    """
    program, _ = program_of(data, grid)
    found = design(program, grid)
    yield from rescale_vectors(found, program, random_inputs(program, inferences) if inputs is None else inputs)
