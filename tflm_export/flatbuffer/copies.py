# SPDX-License-Identifier: Apache-2.0
"""Copies of constant tensors, each with a buffer and a scale of its own, for operators that share one."""

import dataclasses

import numpy as np

from tflm_export.flatbuffer import schema
from tflm_export.flatbuffer.front import DATA_ALIGNMENT, Front, has_outside_data
from tflm_export.flatbuffer.model import Operator, Tensor
from tflm_export.flatbuffer.reader import INT8, INT32, UINT8, Reader, Table

_TENSOR_FIELDS = {schema.Tensor.SHAPE, schema.Tensor.NAME, schema.Tensor.SHAPE_SIGNATURE}
_UNCOPIED = {schema.Tensor.SPARSITY, schema.Tensor.VARIANT_TENSORS}
_QUANTIZATION_FIELDS = {schema.Quantization.MIN, schema.Quantization.MAX, schema.Quantization.ZERO_POINT}


@dataclasses.dataclass(frozen=True)
class Copy:
    """A constant input that an operator is to have for itself.

    Attributes:
      operator, position: which input of which operator.
      tensor: what it is now: quantised, with elements that can be read.
      scale: float32 scales of the copy.
      data: elements of the copy, as they stand in a file.
    """

    operator: Operator
    position: int
    tensor: Tensor
    scale: np.ndarray
    data: np.ndarray


def copyable(data: bytes) -> set[tuple[int, int]]:
    """The keys of the quantised tensors that have no more in the file than a copy would."""
    root = Reader(data).root()
    if has_outside_data(root):
        return set()
    found = set()
    for i, subgraph in enumerate(root.tables(schema.Model.SUBGRAPHS)):
        for j, table in enumerate(subgraph.tables(schema.SubGraph.TENSORS)):
            quantization = table.table(schema.Tensor.QUANTIZATION)
            plain = quantization is not None and not quantization.position(schema.Quantization.DETAILS)
            if plain and not any(table.position(field) for field in _UNCOPIED):
                found.add((i, j))
    return found


def input_offset(operator: Operator, position: int) -> int:
    """The byte position of the index of an operator's input."""
    return operator.table.vector(schema.Operator.INPUTS, "<i4").offset + 4 * position


def add_copies(data: bytes, copies: list[Copy]) -> bytes:
    """The file with copies of tensors, which the operators use instead.

    Args:
      data: a .tflite file.
      copies: of tensors that are `copyable`.

    Returns:
      The old file, equal but for the indices of the operators' inputs, behind new tables.
    """
    root = Reader(data).root()
    subgraphs = root.tables(schema.Model.SUBGRAPHS)
    buffers = root.tables(schema.Model.BUFFERS)
    front = Front()
    buffer_list, subgraph_list = front.model(root, schema.Model.BUFFERS, schema.Model.SUBGRAPHS)
    new_buffers = front.table_list(buffer_list, [*buffers, *[None] * len(copies)])
    changed = sorted({copy.tensor.subgraph for copy in copies})
    pointers = front.table_list(subgraph_list, [None if i in changed else t for i, t in enumerate(subgraphs)])
    edited = bytearray(data)
    for pointer, index in zip(pointers, changed, strict=True):
        own = [(i, copy) for i, copy in enumerate(copies) if copy.tensor.subgraph == index]
        table = subgraphs[index]
        tensors = table.tables(schema.SubGraph.TENSORS)
        (tensor_list,) = front.subgraph(pointer, table, schema.SubGraph.TENSORS)
        new_tensors = front.table_list(tensor_list, [*tensors, *[None] * len(own)])
        for place, (number, (i, copy)) in zip(new_tensors, enumerate(own, len(tensors)), strict=True):
            _add_tensor(front, place, tensors[copy.tensor.index], len(buffers) + i, copy)
            offset = input_offset(copy.operator, copy.position)
            edited[offset : offset + 4] = np.array(number, "<i4").tobytes()
    for pointer, copy in zip(new_buffers, copies, strict=True):
        (content,) = front.table(pointer, {schema.Buffer.DATA: None})
        front.vector(content, np.ascontiguousarray(copy.data).tobytes(), DATA_ALIGNMENT)
    return front.before(bytes(edited))


def _add_tensor(front: Front, pointer: int, old: Table, buffer: int, copy: Copy) -> None:
    """A tensor like an old one, with a buffer and scales of its own. Its constants of one byte take four."""
    fields = {field: None for field in schema.Tensor if field in _TENSOR_FIELDS and old.target(field)}
    fields |= {
        schema.Tensor.TYPE: old.scalar(schema.Tensor.TYPE, INT8),
        schema.Tensor.BUFFER: buffer,
        schema.Tensor.QUANTIZATION: None,
        schema.Tensor.HAS_RANK: old.scalar(schema.Tensor.HAS_RANK, UINT8),
    }
    quantization = old.table(schema.Tensor.QUANTIZATION)
    (place,) = front.changed(pointer, old, dict(sorted(fields.items())), (schema.Tensor.QUANTIZATION,))
    fields = {
        field: None for field in schema.Quantization if field in _QUANTIZATION_FIELDS and quantization.target(field)
    }
    fields[schema.Quantization.SCALE] = None
    dimension = quantization.scalar(schema.Quantization.QUANTIZED_DIMENSION, INT32)
    fields[schema.Quantization.QUANTIZED_DIMENSION] = dimension % (1 << 32)
    scale_field = schema.Quantization.SCALE
    (scales,) = front.changed(place, quantization, dict(sorted(fields.items())), (scale_field,))
    front.vector(scales, copy.scale.astype("<f4").tobytes(), 4, length=copy.scale.size)
