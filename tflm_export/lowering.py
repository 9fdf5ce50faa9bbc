# SPDX-License-Identifier: Apache-2.0
"""From a parsed model to a program of integers, by an arithmetic. Knows no operator."""

import dataclasses
import math

from tflm_export.arithmetic import Arithmetic
from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.ops import op_for
from tflm_export.program.call import Handle
from tflm_export.program.form import Form, running
from tflm_export.program.program import Block, Origin, Program, Step
from tflm_export.program.value import Value, value_of

MOST_ELEMENTS = 1 << 25  # of a tensor
MOST_TOGETHER = 1 << 30  # of all of them, which an inference keeps


def lower(model: Model, arithmetic: Arithmetic) -> Program:
    """The program of a model.

    Args:
      model: the model.
      arithmetic: whose integers.

    Raises:
      ModelError: the model has no subgraph, is damaged or huge, or has operators without an integer form; all of them
        are named.
    """
    if not model.subgraphs:
        raise ModelError("the model has no subgraph")
    problems = unsupported(model)
    if problems:
        raise ModelError(f"the model cannot be simulated: {'; '.join(problems)}")
    require_moderate(model)
    reached = set(_reachable(model))
    return Program(tuple(_block(model, i, arithmetic) if i in reached else None for i in range(len(model.subgraphs))))


def require_moderate(model: Model) -> None:
    """Raises ModelError where an inference would take more memory than a machine can be expected to have."""
    graphs = [model.subgraphs[i] for i in _reachable(model)]
    ends = [(*graph.inputs, *graph.outputs) for graph in graphs]
    ends += [(*operator.inputs, *operator.outputs) for graph in graphs for operator in graph.operators]
    held = {t.key: t for tensors in ends for t in tensors if t is not None}
    sizes = {key: max(0, math.prod(tensor.shape)) for key, tensor in held.items()}
    for key, size in sizes.items():
        if size > MOST_ELEMENTS:
            raise ModelError(f"{held[key].label} has {size} elements; at most {MOST_ELEMENTS} are simulated")
    total = sum(sizes.values())
    if total > MOST_TOGETHER:
        raise ModelError(f"an inference holds {total} elements; at most {MOST_TOGETHER} are simulated")


def unsupported(model: Model) -> list[str]:
    """What has no integer form in a model: one line for each operator."""
    problems = []
    for index in _reachable(model):
        for operator in model.subgraphs[index].operators:
            problem = lowering_problem(operator)
            if problem:
                problems.append(f"{operator.label}: {problem}")
    return problems


def lowering_problem(operator: Operator) -> str:
    """Why an operator has no integer form; empty if it has.

    Raises:
      ModelError: the file is damaged.
    """
    op = op_for(operator)
    needed = operator.inputs[: op.run_inputs]
    if len(needed) < op.run_inputs or None in needed:
        return "it lacks inputs"
    with _running(operator):
        return op.lowering_problem(operator)


def _running(operator: Operator):
    """`running`, of an operator of a file."""
    tensors = (tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None)
    return running(operator.label, [tensor.label for tensor in tensors if tensor.is_open])


def forms_of(operator: Operator, arithmetic: Arithmetic) -> tuple[Form, ...]:
    """What an operator without a `lowering_problem` becomes.

    Raises:
      ModelError: the file is damaged.
    """
    with _running(operator):
        return op_for(operator).lower(operator, arithmetic)


def _block(model: Model, index: int, arithmetic: Arithmetic) -> Block:
    graph = model.subgraphs[index]
    steps, names = [], {}
    for operator in graph.operators:
        origin = origin_of(operator)
        for form in forms_of(operator, arithmetic):
            if isinstance(form, Handle):
                names[form.handle] = form.variable
            else:
                with _running(operator):
                    form.require_moderate()
                steps.append(Step(origin, _with_variables(form, names)))
    for tensor in (*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)):
        if tensor.data is not None and not tensor.is_variable:
            raise ModelError(f"the file is damaged: {tensor.label} is constant, and is to be written")
    return Block(tuple(map(value_of, graph.inputs)), tuple(map(value_of, graph.outputs)), tuple(steps))


def _with_variables(form: Form, names: dict) -> Form:
    """A form with variables by name, where its operator knows them by handle."""

    def named(value: Value) -> Value:
        handle = value.key[1] if value.is_variable and value.key[0] == "variable" else None
        return value if handle is None else dataclasses.replace(value, key=("variable", names.get(handle, handle)))

    if not any(value.is_variable for value in (*form.inputs, *form.outputs)):
        return form
    return dataclasses.replace(form, inputs=tuple(map(named, form.inputs)), outputs=tuple(map(named, form.outputs)))


def origin_of(operator: Operator) -> Origin:
    """Where a form comes from, for people."""
    output = operator.outputs[0].name if operator.outputs else ""
    return Origin(operator.subgraph, operator.index, operator.name, output, operator.label)


def _reachable(model: Model) -> list[int]:
    """The main subgraph, and those its operators call."""
    found, todo = set(), [0] if model.subgraphs else []
    while todo:
        index = todo.pop()
        if index in found:
            continue
        if not 0 <= index < len(model.subgraphs):
            raise ModelError(f"the file is damaged: subgraph {index} of {len(model.subgraphs)} is called")
        found.add(index)
        todo += [i for operator in model.subgraphs[index].operators for i in op_for(operator).calls(operator)]
    return sorted(found)
