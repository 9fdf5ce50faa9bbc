# SPDX-License-Identifier: Apache-2.0
"""What the blocks get in inferences of the simulator, and what they have to give."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tflm_export.errors import UsageError
from tflm_export.program.form import lined_up
from tflm_export.program.program import Program
from tflm_export.rtl.channels import Channels
from tflm_export.rtl.design import Design
from tflm_export.rtl.means import Averaged
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.sums import Sum


@dataclasses.dataclass(frozen=True, eq=False)
class RescaleVectors:
    """All that one `narrow_rescale` computes in some inferences; int64 [vectors] each but for the channel.

    Attributes:
      layer: which step it is of.
      channel: int32.
      model_accumulator: the final sum as the simulator has it, with the model's bias.
      expected: the output that the simulator computed from it.
    """

    layer: Rescaled
    channel: np.ndarray
    model_accumulator: np.ndarray
    expected: np.ndarray

    @property
    def sum_of_products(self) -> np.ndarray:
        """What the bias is added to."""
        return self.model_accumulator - self.layer.accumulation.bias[self.channel]

    @property
    def accumulator(self) -> np.ndarray:
        """What the rescaler gets; within the accumulator's bits but where a channel's own limits are one output."""
        return self.model_accumulator + self.layer.offset[self.channel]

    @property
    def numbers(self) -> Channels:
        """Multiplier, shift, zero point, low and high of each vector."""
        return self.layer.channels[self.channel]

    @property
    def operands(self) -> tuple[np.ndarray, ...]:
        """What comes from the network, where the table gives the rest."""
        return (self.sum_of_products,)

    def __len__(self) -> int:
        return len(self.expected)


@dataclasses.dataclass(frozen=True, eq=False)
class OtherVectors:
    """All that `narrow_add` or `narrow_mean` computes for a layer in some inferences.

    Attributes:
      layer: the layer.
      operands: int64 [vectors]: both inputs of a sum, or the sum of the inputs of a mean.
      expected: int64 [vectors], the simulator's output.
    """

    layer: Sum | Averaged
    operands: tuple[np.ndarray, ...]
    expected: np.ndarray

    def __len__(self) -> int:
        return len(self.expected)


def vectors(found: Design, program: Program, inputs: Sequence[np.ndarray]) -> Iterator[RescaleVectors | OtherVectors]:
    """Every output that blocks compute in some inferences, layer by layer.

    Args:
      found: the design of the program.
      program: the program.
      inputs: an array for each input of the program, [inferences, *shape], in its type.

    Raises:
      ModelError: the program cannot run.
    """
    values = program.run(inputs)
    for layer in found.layers:
        form = layer.step.form
        arrays = [value.among(values) for value in form.inputs]
        rows = max(map(len, arrays))  # one where all inputs are constant
        output = values[form.output.key][:rows].astype(np.int64)
        if isinstance(layer, Rescaled):
            accumulator, channel, where = layer.accumulation.chosen(form, *arrays)
            yield RescaleVectors(layer, channel, accumulator, output.reshape(-1)[where])
        elif isinstance(layer, Sum):
            raw = (np.broadcast_to(lined_up(a, len(form.output.shape)), output.shape) for a in arrays)
            yield OtherVectors(layer, tuple(a.reshape(-1).astype(np.int64) for a in raw), output.reshape(-1))
        else:
            yield OtherVectors(layer, (layer.sums(arrays[0]).reshape(-1),), output.reshape(-1))


def random_inputs(program: Program, inferences: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Inputs of any integers of their types (float32: of any that these stand for), the same in every run.

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
            low, high = _real_range(program, value)
            arrays.append(generator.uniform(low, high, shape).astype(value.dtype))
        else:
            low, high = value.limits
            arrays.append(generator.integers(low, high, shape, value.dtype, endpoint=True))
    return arrays


def _real_range(program: Program, value) -> tuple[float, float]:
    """The real numbers that a float32 input holds without saturation, by the scale of what it is quantised to."""
    for step in program.main.steps:
        output = step.form.output
        if step.form.inputs and step.form.inputs[0].key == value.key and output.scale and output.dtype.kind in "iu":
            low, high = ((limit - output.zero_point) * output.scale for limit in output.limits)
            return low, high
    return -1.0, 1.0
