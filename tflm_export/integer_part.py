# SPDX-License-Identifier: Apache-2.0
"""The part of a model that has an integer form, between operators at both ends that have none."""

import dataclasses
from collections.abc import Hashable, Iterable

from tflm_export.flatbuffer.model import Model, Operator, Subgraph, Tensor
from tflm_export.lowering import lowering_problem


def integer_part(model: Model) -> tuple[Model, tuple[Operator, ...]]:
    """A model without operators at its ends that have no integer form, such as post-processing in float32.

    Those at the front read nothing that is computed here, and what those at the end compute is read by none that stay.
    What stays reads and gives in their place is inputs and outputs. Operators in the middle stay, whatever they are.

    Args:
      model: the model, of one subgraph or more; the main one loses operators.

    Returns:
      The model, and the operators that it lacks, in their order.

    Raises:
      ModelError: the file is damaged.
    """
    if not model.subgraphs:
        return model, ()
    graph = model.subgraphs[0]
    without = [operator for operator in graph.operators if lowering_problem(operator)]
    left = _front(graph, without) | _end(graph, without)
    if not left or len(left) == len(graph.operators):
        return model, ()
    gone = tuple(operator for operator in without if operator.key in left)
    kept = tuple(operator for operator in graph.operators if operator.key not in left)
    read, made = _tensors(t for o in kept for t in o.inputs), _tensors(t for o in kept for t in o.outputs)
    given = {t.key: t for t in graph.inputs} | _tensors(t for o in gone for t in o.outputs)
    wanted = _tensors(graph.outputs) | _tensors(t for o in gone for t in o.inputs)
    main = dataclasses.replace(
        graph,
        operators=kept,
        inputs=tuple(t for key, t in given.items() if key in read),
        outputs=tuple(t for key, t in wanted.items() if key in made),
    )
    return dataclasses.replace(model, subgraphs=(main, *model.subgraphs[1:])), gone


def _front(graph: Subgraph, without: list[Operator]) -> set[Hashable]:
    """Keys of those that read nothing but constants, inputs of the model and one another's outputs."""
    found: set[Hashable] = set()
    known = set(_tensors(graph.inputs))
    for operator in without:
        if all(t is None or t.data is not None or t.key in known for t in operator.inputs):
            found.add(operator.key)
            known |= _tensors(operator.outputs).keys()
    return found


def _end(graph: Subgraph, without: list[Operator]) -> set[Hashable]:
    """Keys of those whose outputs nothing reads but one another."""
    found: set[Hashable] = set()
    keys = {operator.key for operator in without}
    read: set[Hashable] = set()
    for operator in reversed(graph.operators):
        if operator.key in keys and not any(t.key in read for t in operator.outputs):
            found.add(operator.key)
        else:
            read |= _tensors(operator.inputs).keys()
    return found


def _tensors(tensors: Iterable[Tensor | None]) -> dict[Hashable, Tensor]:
    """Tensors by key."""
    return {tensor.key: tensor for tensor in tensors if tensor is not None}
