# SPDX-License-Identifier: Apache-2.0
"""Activations that a file holds only as the limits of a type.

Some converters leave out an activation to which the output's own range clamps: integers 0..255 of scale 6/255 and zero
point 0 are a ReLU6. A scale that grows lifts that limit, so the activation is then written out. Where an operator has
no place for one its output keeps the scale, and the weights or the inputs move instead. RELU, whose only limit is at
the zero point, holds at every scale; and the ends of a calibrated range are no function of the network's.

`keep` writes none: an integer means what it meant, whatever its scale says, the largest one included.
"""

from collections.abc import Hashable

from tflm_export.flatbuffer.model import Model, Operator, Tensor, parse
from tflm_export.fused_activations import FIELDS, writable, write_activations
from tflm_export.graph import Graph
from tflm_export.ops.activations import clamp_of, fused_activation
from tflm_export.ops.base import Declaration, scale_problem
from tflm_export.program.value import dtype_of, limits_of
from tflm_export.setting import KEEP, Setting

# Activations that end at a number on both sides, and operators of these names.
_BOUNDED = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_NEAR = 0.5 + 1e-3  # steps: what a converter that has 0 at an integer moves the ends of a range by, and float32
_CARRIES = ("CONCATENATION", "MEAN", "QUANTIZE", "RELU")  # exceed an end only if an input does
_WITHIN_ONE = "UNIDIRECTIONAL_SEQUENCE_LSTM"  # whose product of LOGISTIC and TANH needs no limit


def implied(operator: Operator) -> str:
    """The activation for which the limits of an output's type stand, to half a step; empty where there is none."""
    y = operator.outputs[0] if operator.outputs else None
    if y is None or operator.name in _BOUNDED or not y.is_quantized or not _may_end(y):
        return ""
    if scale_problem(y) or _written(operator) not in ("NONE", "RELU"):
        return ""
    low, high = clamp_of(y, _written(operator))
    for name, (least, most) in _BOUNDED.items():
        off = (y.zero_point + least / y.scale - low, y.zero_point + most / y.scale - high)
        if max(map(abs, off)) <= _NEAR:
            return name
    return ""


def _may_end(y: Tensor) -> bool:
    """Whether a range ends at 6 or 1, to a step: a quick look that spares most tensors a closer one."""
    return any(abs(_end(y) - most) <= y.scale for _, most in _BOUNDED.values())


def pinned(
    declarations: list[tuple[Operator, Declaration]], graph: Graph, settings: dict[tuple[int, int], Setting]
) -> set[Hashable]:
    """Keys of the outputs that must keep their scale, because their limit stands for what cannot be written.

    Args:
      declarations: what every operator asks of the solver.
      graph: of their model.
      settings: settings by (subgraph, operator).
    """
    ending = [
        operator
        for operator, declaration in declarations
        if declaration.nodes and settings[operator.key].method != KEEP
        if implied(operator) and _exceeds(operator)
    ]
    free = {operator.outputs[0].key for operator in writable(ending, graph)}
    return {operator.outputs[0].key for operator in ending} - free


def with_activations(stock: Model, narrowed: bytes, settings: dict[tuple[int, int], Setting]) -> bytes:
    """The narrowed file with the activations that the scales of the stock file stood for and its own do not.

    Args:
      stock: the model that was narrowed.
      narrowed: what became of it.
      settings: settings by (subgraph, operator).

    Returns:
      The file, longer only where an operator had no byte for its activation.
    """
    wanted = {
        operator.key: (operator, name)
        for operator in stock.operators
        if operator.name in FIELDS and settings[operator.key].method != KEEP
        if (name := implied(operator))
    }
    if not wanted:
        return narrowed
    after = parse(narrowed)
    lifted = {
        (subgraph, index): name
        for (subgraph, index), (old, name) in wanted.items()
        if _is_lifted(old, after.subgraphs[subgraph].operators[index], name)
    }
    return write_activations(after, lifted) if lifted else narrowed


def added(before: Operator, after: Operator) -> str:
    """The activation that an operator has and had not; empty where there is none."""
    if before.outputs[0].scale == after.outputs[0].scale or _written(after) == _written(before):
        return ""
    return _written(after)


def _written(operator: Operator) -> str:
    """The fused activation in an operator's options."""
    return fused_activation(operator, FIELDS[operator.name]) if operator.name in FIELDS else "NONE"


def _is_lifted(before: Operator, after: Operator, name: str) -> bool:
    """Whether a range grew beyond the ends of an activation."""
    old, new = before.outputs[0], after.outputs[0]
    return new.scale > old.scale and clamp_of(new, name) != clamp_of(new, _written(before))


def _exceeds(operator: Operator) -> bool:
    """Whether an operator's sums can go beyond its output's range."""
    if operator.name not in _CARRIES:
        return operator.name != _WITHIN_ONE
    y = operator.outputs[0]
    inputs = (x for x in operator.inputs if x is not None and x.quantization is not None)
    return any(_end(x) > _end(y) + y.scale / 2 for x in inputs)


def _end(tensor: Tensor) -> float:
    """The largest real number of a tensor's range."""
    return tensor.scale * (limits_of(dtype_of(tensor))[1] - tensor.zero_point)
