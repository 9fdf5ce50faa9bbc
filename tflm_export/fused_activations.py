# SPDX-License-Identifier: Apache-2.0
"""Fused activations of operators: written in place where the file has room for them, else in new tables before it.

An option that has its default value is not stored, so that an operator without an activation has no byte for one. Then
it gets a new option table, and a table of its own that points to it.
"""

import enum

import numpy as np

from tflm_export.flatbuffer import options, schema
from tflm_export.flatbuffer.front import Front, has_outside_data
from tflm_export.flatbuffer.model import Model, Operator
from tflm_export.flatbuffer.reader import INT32, UINT8, UINT32, UINT64, Reader, Table
from tflm_export.flatbuffer.writer import Edits
from tflm_export.graph import Graph

# Where the operators hold it whose kernels clamp to it in LiteRT, XNNPACK and TFLM alike.
FIELDS = {
    "CONV_2D": options.Conv2DOptions.ACTIVATION,
    "DEPTHWISE_CONV_2D": options.DepthwiseConv2DOptions.ACTIVATION,
    "FULLY_CONNECTED": options.FullyConnectedOptions.ACTIVATION,
    "ADD": options.AddOptions.ACTIVATION,
    "SUB": options.SubOptions.ACTIVATION,
    "MUL": options.MulOptions.ACTIVATION,
}
_SCALARS = {  # of an operator's table, with their types; the other fields that a new table takes over are offsets
    schema.Operator.OPCODE_INDEX: UINT32,
    schema.Operator.BUILTIN_OPTIONS_TYPE: UINT8,
    schema.Operator.CUSTOM_OPTIONS_FORMAT: UINT8,
    schema.Operator.DEBUG_METADATA_INDEX: INT32,
}
_UNCOPIED = {  # fields of an operator with further options; 0 in all others
    schema.Operator.LARGE_CUSTOM_OPTIONS_OFFSET: UINT64,
    schema.Operator.LARGE_CUSTOM_OPTIONS_SIZE: UINT64,
    schema.Operator.BUILTIN_OPTIONS_2_TYPE: UINT8,
}


def writable(operators: list[Operator], graph: Graph) -> list[Operator]:
    """Those operators of a graph's model that can be given a fused activation that the runtimes honour."""
    owners = [operator for operator in operators if operator.name in FIELDS]
    movable = bool(owners) and not has_outside_data(Reader(graph.model.data).root())
    return [o for o in owners if _has_room(o, FIELDS[o.name], graph) or (movable and _is_plain(o))]


def write_activations(model: Model, activations: dict[tuple[int, int], str]) -> bytes:
    """The file with other fused activations.

    Args:
      model: the file.
      activations: "RELU6", ... by (subgraph, operator); the operators are `writable`.

    Returns:
      The old file, equal but for the activations that have a byte in it, behind new tables for the others.
    """
    graph, edits, absent = Graph(model), Edits(model.data), {}
    for (subgraph, index), name in activations.items():
        operator = model.subgraphs[subgraph].operators[index]
        field, code = FIELDS[operator.name], options.ACTIVATIONS.index(name)
        if _has_room(operator, field, graph):
            old = np.array([operator.option(field, UINT8)], np.uint8)
            edits.set(operator.option_offset(field), old, np.array([code]), f"activation of {operator.label}")
        else:
            absent.setdefault(subgraph, {})[index] = operator, code
    data = edits.finish()
    return _with_tables(data, absent) if absent else data


def _with_tables(data: bytes, absent: dict[int, dict[int, tuple[Operator, int]]]) -> bytes:
    """The file behind new tables for operators, and the codes of their activations, by subgraph and index."""
    root = Reader(data).root()
    subgraphs = root.tables(schema.Model.SUBGRAPHS)
    front = Front()
    (subgraph_list,) = front.model(root, schema.Model.SUBGRAPHS)
    pointers = front.table_list(subgraph_list, [None if i in absent else table for i, table in enumerate(subgraphs)])
    for pointer, (index, changed) in zip(pointers, sorted(absent.items()), strict=True):
        (operator_list,) = front.subgraph(pointer, subgraphs[index], schema.SubGraph.OPERATORS)
        tables = subgraphs[index].tables(schema.SubGraph.OPERATORS)
        places = front.table_list(operator_list, [None if i in changed else table for i, table in enumerate(tables)])
        for place, (_, (operator, code)) in zip(places, sorted(changed.items()), strict=True):
            _add_operator(front, place, operator, code)
    return front.before(data)


def _add_operator(front: Front, pointer: int, operator: Operator, code: int) -> None:
    """An operator like an old one, with an option table of its own."""
    old, field = operator.table, FIELDS[operator.name]
    new = schema.Operator.BUILTIN_OPTIONS
    fields = {
        number: old.scalar(number, _SCALARS[number]) % (1 << 32) if number in _SCALARS else None
        for number in {*schema.Operator} - {*_UNCOPIED}
        if (old.position(number) if number in _SCALARS else old.target(number))
    }
    fields |= {schema.Operator.BUILTIN_OPTIONS_TYPE: options.UNION_CODES[type(field)], new: None}
    (place,) = front.changed(pointer, old, dict(sorted(fields.items())), (new,))
    table = _option_table(operator)
    values = {f: _scalar(table, f) for f in type(field) if table.position(f)} if table is not None else {}
    front.table(place, dict(sorted((values | {field: code}).items())))


def _is_plain(operator: Operator) -> bool:
    """Whether the tables of an operator hold no more than new ones would."""
    tables = ((operator.table, schema.Operator), (_option_table(operator), type(FIELDS[operator.name])))
    known = all(t is None or not any(map(t.position, range(len(kind), t.field_count))) for t, kind in tables)
    return known and not any(operator.table.scalar(*field) for field in _UNCOPIED.items())


def _has_room(operator: Operator, field: enum.IntEnum, graph: Graph) -> bool:
    """Whether the file has a byte for the operator's activation, and no other operator reads it."""
    return bool(operator.option_offset(field)) and graph.owns_options(operator)


def _option_table(operator: Operator) -> Table | None:
    return operator.table.table(schema.Operator.BUILTIN_OPTIONS)


def _scalar(table: Table, field: enum.IntEnum) -> int:
    """A scalar of an option table as an unsigned integer of 32 bits."""
    return table.scalar(field, UINT8 if field.name in options.BYTES else INT32) % (1 << 32)
