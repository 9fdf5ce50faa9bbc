"""Constant activations that are requantised to the scales the solver gave them."""

import numpy as np

from tflm_export import solver
from tflm_export.flatbuffer.model import Tensor
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph
from tflm_export.ops.base import Plan


def constant_keys(graph: Graph, tensors: tuple[Tensor, ...]) -> tuple[tuple, tuple]:
    """Keys of the constants among the inputs of an operator: those it can requantise, and those it must pin."""
    constants = [t for t in tensors if t.is_constant]
    owned = tuple(t.key for t in constants if t.data is not None and graph.owns(t))
    return owned, tuple(t.key for t in constants if t.key not in owned)


def requantise_constants(tensors: tuple[Tensor, ...], plan: Plan, edits: Edits) -> None:
    """Writes the integers of constants whose scale has moved; `keep` leaves them."""
    if plan.method == solver.KEEP:
        return
    for tensor in tensors:
        if tensor.is_constant and plan.scales[tensor.key] != tensor.scale:
            ratio = tensor.scale / plan.scales[tensor.key]
            limits = np.iinfo(tensor.data.dtype)
            integers = np.rint((tensor.data - float(tensor.zero_point)) * ratio) + tensor.zero_point
            integers = np.clip(integers, limits.min, limits.max)
            edits.set(tensor.data_offset, tensor.data, integers, f"constant {tensor.name}")
