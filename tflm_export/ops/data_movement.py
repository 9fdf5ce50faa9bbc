# SPDX-License-Identifier: Apache-2.0
"""Operators that carry integers over unchanged (or compare or average them): one scale on both sides."""

from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.graph import Graph
from tflm_export.ops.base import Declaration, Op, quantized_keys, quantized_tensors
from tflm_export.ops.constants import constant_keys, requantise_constants

POSITION_TYPES = ("INT32", "INT64", "INT16")


def scales_are_equal(operator: Operator) -> bool:
    """Whether all quantised tensors of an operator have one scale, zero point and type."""
    return len({(t.scale, t.zero_point, t.type) for t in quantized_tensors(operator)}) <= 1


def tied(operator: Operator, graph: Graph) -> Declaration:
    """All quantised tensors of an operator at one scale, constants requantised to it; pinned where they differ."""
    tensors = quantized_tensors(operator)
    owned, pinned = constant_keys(graph, [t for t in operator.inputs if t in tensors])
    per_channel = any(t.quantization.scale.values.size > 1 for t in tensors)
    if pinned or per_channel or not scales_are_equal(operator):
        return Declaration(pins=quantized_keys(operator))
    return Declaration(ties=(quantized_keys(operator),) if tensors else (), constants=owned)


class DataMovement(Op):
    """Ties all its quantised tensors; pins them where they differ already.

    Attributes:
      unequal_reason: why unequal scales keep it from being narrowed; empty where they are no concern, because no
        runtime rescales.
    """

    unequal_reason = ""
    rewrites_constants = True
    min_inputs = 1

    def declare(self, operator, graph):
        declaration = tied(operator, graph)
        if self.unequal_reason and not scales_are_equal(operator):
            return Declaration(pins=declaration.pins, reason=self.unequal_reason)
        return declaration

    def edit(self, operator, plan, edits):
        requantise_constants(operator.inputs, plan, edits)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
      ValueError: it is outside the dimensions.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank} dimensions")
    return axis % rank


def constant_integers(operator: Operator, position: int) -> list[int] | None:
    """The elements of a constant integer input, None where it is left out or no such constant."""
    tensor = operator.inputs[position] if position < len(operator.inputs) else None
    if tensor is None or tensor.data is None or tensor.data.dtype.kind not in "iu":
        return None
    return constant_of(tensor)


def constant_of(tensor: Tensor) -> list[int]:
    """The elements of a constant of integers."""
    return [int(value) for value in tensor.data.reshape(-1)]


def constants_problem(operator: Operator, *positions: int) -> str:
    """Why inputs that say what moves where cannot be used, empty if they are constant integers."""
    for position in positions:
        if constant_integers(operator, position) is None:
            return f"its input {position} is not constant, which is not simulated"
    return ""
