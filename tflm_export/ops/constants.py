# SPDX-License-Identifier: Apache-2.0
"""Constant activations and biases that are requantised to the scales the solver gave them."""

import numpy as np

from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.ops.base import Plan
from tflm_export.setting import KEEP


def constant_keys(graph: Graph, tensors: tuple[Tensor, ...]) -> tuple[tuple, tuple]:
    """Keys of the constants among the inputs of an operator: those it can requantise, and those it must pin."""
    constants = [t for t in tensors if t.is_constant]
    owned = tuple(t.key for t in constants if t.data is not None and graph.owns(t))
    return owned, tuple(t.key for t in constants if t.key not in owned)


def requantise_constants(tensors: tuple[Tensor | None, ...], plan: Plan, edits: Edits) -> None:
    """Writes the integers of constants whose scale has moved, not of what has none; `keep` leaves them."""
    if plan.method == KEEP:
        return
    for tensor in tensors:
        if tensor is None or not tensor.is_constant or tensor.key not in plan.scales:
            continue
        if plan.scales[tensor.key] != tensor.scale:
            ratio = tensor.scale / plan.scales[tensor.key]
            integers = np.rint((tensor.data - float(tensor.zero_point)) * ratio) + tensor.zero_point
            integers = tensor.encoded(np.clip(integers, *tensor.limits))
            edits.set(tensor.data_offset, tensor.stored, integers, f"constant {tensor.name}")


def requantise_bias(bias: Tensor, factors: tuple[Tensor, Tensor], plan: Plan, edits: Edits) -> None:
    """Writes a bias whose scale is the product of the scales of two activations; `keep` leaves it without data."""
    before = factors[0].scale * factors[1].scale
    after = plan.scales[factors[0].key] * plan.scales[factors[1].key]
    if after == before:
        return
    if bias.quantization is not None:
        edits.set(bias.quantization.scale.offset, bias.quantization.scale.values, np.array([after]), f"{bias.name}")
    if not plan.keeps_integers:
        edits.set(bias.data_offset, bias.stored, rounded_bias(bias, bias.data * (before / after)), f"bias {bias.name}")


def rounded_bias(bias: Tensor, values: np.ndarray) -> np.ndarray:
    """float64 values rounded to integers that a bias can hold."""
    limits = np.iinfo(bias.data.dtype)
    # The largest float64 that an int64 holds is not its largest integer.
    high = np.nextafter(2.0**63, 0) if bias.data.dtype.itemsize == 8 else limits.max
    return np.clip(np.rint(values), limits.min, high)
