# SPDX-License-Identifier: Apache-2.0
"""How far a narrowed model's outputs are from the stock model's."""

import dataclasses
import math

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, Tensor
from tflm_export.simulator import simulate


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Outputs of two models on the same inputs.

    Attributes:
      rows: inferences compared.
      top1: share of rows with the same largest output; None where the output is no vector of classes.
      relative_change: RMS change of the real outputs over the RMS of the stock outputs about their mean.
      sqnr: the same as a signal-to-noise ratio, dB; infinite where nothing changed.
      output: the label of the output, where the model has several; empty where it has one.
    """

    rows: int
    top1: float | None
    relative_change: float
    sqnr: float
    output: str = ""

    def __str__(self) -> str:
        top1 = "" if self.top1 is None else f"top-1 agreement {self.top1:.2%}, "
        rows = f"{self.rows} row{'s' if self.rows != 1 else ''}"
        output = f", of the worst output, {self.output}" if self.output else ""
        return f"{top1}relative change {self.relative_change:.2%} (SQNR {self.sqnr:.1f} dB) on {rows}{output}"

    @property
    def drop(self) -> float:
        """What a tolerance is compared with: the share of rows that changed class, else the relative change."""
        return self.relative_change if self.top1 is None else round(1 - self.top1, 12)  # 1 - 0.99 > 0.01


def agreement(stock: np.ndarray, other: np.ndarray, output: Tensor, other_output: Tensor) -> Agreement:
    """Compares what a tensor of two models held, [rows, ...], as real values by each model's own scale."""
    classes = len(output.shape) == 2 and output.shape[1] > 1
    return of_values(_real(stock, output), _real(other, other_output), classes)


def of_values(real: np.ndarray, changed: np.ndarray, classes: bool) -> Agreement:
    """Compares real values, float64 [rows, elements], that are the scores of classes or other numbers."""
    signal = np.sqrt(np.mean(np.square(real - real.mean(1 if real.shape[1] > 1 else None, keepdims=True))))
    noise = np.sqrt(np.mean(np.square(changed - real)))
    relative = float(noise / signal) if signal else float(noise > 0)
    top1 = float(np.mean(real.argmax(1) == changed.argmax(1))) if classes else None
    return Agreement(len(real), top1, relative, -20 * math.log10(relative) if relative else math.inf)


def compare(
    stock: Model, narrowed: Model, inputs: list[np.ndarray], narrowed_inputs: list[np.ndarray] | None = None
) -> Agreement:
    """Compares two models with the same outputs on inputs, both as TensorFlow Lite Micro computes them.

    Args:
      stock, narrowed: the models.
      inputs: one array for each input.
      narrowed_inputs: the same in the integers of the narrowed model, where these are others.

    Returns:
      The agreement of the worst output.

    Raises:
      ModelError: a model has operators that cannot be simulated, or no outputs.
    """
    if not stock.subgraphs or not stock.subgraphs[0].outputs:
        raise ModelError("the model has no outputs, by which models are compared")
    before = simulate(stock, inputs, "tflm").outputs
    after = simulate(narrowed, inputs if narrowed_inputs is None else narrowed_inputs, "tflm").outputs
    tensors, others = (model.subgraphs[0].outputs for model in (stock, narrowed))
    outputs = zip(tensors, before, after, others, strict=True)
    return worst({tensor.label: agreement(old, new, tensor, other) for tensor, old, new, other in outputs})


def worst(outputs: dict[str, Agreement]) -> Agreement:
    """The agreement that drops most, of a model's outputs by label."""
    label, found = max(outputs.items(), key=lambda item: (item[1].drop, item[1].relative_change))
    return dataclasses.replace(found, output=label) if len(outputs) > 1 else found


def _real(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """float64 [rows, elements]."""
    real = values.reshape(len(values), -1).astype(np.float64)
    return (real - tensor.zero_point) * tensor.scale if tensor.is_quantized else real
