# SPDX-License-Identifier: Apache-2.0
"""Another form of a model in new tables before its file: tensors of other types, more tensors and operators.

What keeps its length is written in place: elements of constants, and which tensors an operator reads and writes.
"""

import collections
import dataclasses

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer import schema
from tflm_export.flatbuffer.front import DATA_ALIGNMENT, Front, has_outside_data
from tflm_export.flatbuffer.model import Model, Operator, Tensor, operator_name
from tflm_export.flatbuffer.reader import INT32, UINT8, Reader, Table
from tflm_export.flatbuffer.writer import Edits

_LARGEST_OLD_CODE = 127  # of the one-byte field that operator codes had before schema version 3a
_KEPT = (schema.Tensor.SHAPE, schema.Tensor.NAME, schema.Tensor.SHAPE_SIGNATURE)


@dataclasses.dataclass(frozen=True, eq=False)
class NewTensor:
    """What a tensor is to be.

    Attributes:
      like: the tensor that it replaces, or whose shape it has.
      type: "INT8", ...
      scale: float32 [1] or [channels]; None for one that is not quantised.
      zero_point: integers of the same size.
      dimension: the axis of the channels where there are several.
      data: its elements where it is constant.
      name: of a tensor that is added; empty for one that replaces `like`.
    """

    like: Tensor
    type: str
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    dimension: int = 0
    data: np.ndarray | None = None
    name: str = ""

    def equals(self, other: "NewTensor") -> bool:
        """Whether a file would hold the same for both."""
        fields = ("type", "dimension", "name", "content")
        same = all(getattr(self, field) == getattr(other, field) for field in fields)
        arrays = ((self.scale, other.scale), (self.zero_point, other.zero_point))
        return same and self.like.key == other.like.key and all(np.array_equal(*pair) for pair in arrays)

    @property
    def content(self) -> bytes | None:
        """The bytes of its elements."""
        return None if self.data is None else np.ascontiguousarray(self.data).tobytes()


class Rewrite:
    """Changes to a model. Tensors keep their indices, and everything else what it is not told.

    Args:
      model: the model.

    Raises:
      ModelError: the file keeps tensors outside its FlatBuffer, and cannot be moved.
    """

    def __init__(self, model: Model):
        self._model = model
        self._root = Reader(model.data).root()
        if has_outside_data(self._root):
            raise ModelError("the model keeps tensors outside its FlatBuffer; it cannot be rewritten")
        self._edits = Edits(model.data)
        self._replaced: dict[tuple[int, int], NewTensor] = {}
        self._added: dict[int, list[NewTensor]] = collections.defaultdict(list)
        self._inserted: dict[tuple[int, int], list[tuple[str, int, int]]] = collections.defaultdict(list)
        self._versions: dict[str, int] = {}

    def replace(self, new: NewTensor) -> bool:
        """Makes `new.like` another tensor; False, and nothing done, where it already is to be yet another one."""
        return self._replaced.setdefault(new.like.key, new).equals(new)

    def add(self, new: NewTensor) -> int:
        """Adds a tensor to the subgraph of the one it is like; returns its index."""
        added = self._added[new.like.subgraph]
        added.append(new)
        return len(self._model.subgraphs[new.like.subgraph].tensors) + len(added) - 1

    def read(self, operator: Operator, position: int, index: int) -> None:
        """Makes an operator read another tensor at one of its inputs."""
        self._wire(operator, schema.Operator.INPUTS, position, index)

    def write(self, operator: Operator, position: int, index: int) -> None:
        """Makes an operator write another tensor at one of its outputs."""
        self._wire(operator, schema.Operator.OUTPUTS, position, index)

    def insert(self, subgraph: int, position: int, name: str, x: int, y: int) -> None:
        """Puts an operator of one input and one output, without options, before the one at a position."""
        self._inserted[subgraph, position].append((name, x, y))

    def require_version(self, name: str, version: int) -> None:
        """Makes the versions of all operators of a name at least this one, as each knows all that those before did."""
        self._versions[name] = max(version, self._versions.get(name, 1))

    def finish(self) -> bytes:
        """The old file, equal but for what was written in place, behind new tables."""
        front, vectors = Front(), _Vectors()
        graphs, old = (self._root.tables(field) for field in (schema.Model.SUBGRAPHS, schema.Model.BUFFERS))
        lists = (schema.Model.OPERATOR_CODES, schema.Model.SUBGRAPHS, schema.Model.BUFFERS)
        code_list, graph_list, buffer_list = front.model(self._root, *lists)
        codes = self._write_codes(front, code_list)
        buffers = _Buffers(self._model, self._replaced, self._edits, len(old))
        for i, pointer in enumerate(front.table_list(graph_list, [None] * len(graphs))):
            lists = (schema.SubGraph.TENSORS, schema.SubGraph.OPERATORS)
            tensors, operators = front.subgraph(pointer, graphs[i], *lists)
            self._write_tensors(front, tensors, i, graphs[i], buffers, vectors)
            self._write_operators(front, operators, i, graphs[i], codes, vectors)
        places = front.table_list(buffer_list, [*old, *[None] * len(buffers.new)])
        contents = [front.table(place, {schema.Buffer.DATA: None})[0] for place in places]
        for pointer, content in zip(contents, buffers.new, strict=True):
            front.vector(pointer, content, DATA_ALIGNMENT)
        vectors.write(front)
        return front.before(self._edits.finish())

    def _wire(self, operator: Operator, field: schema.Operator, position: int, index: int) -> None:
        old = operator.table.vector(field, "<i4")
        was = old.values[position : position + 1]
        self._edits.set(old.offset + 4 * position, was, np.array([index]), f"tensors of {operator.label}")

    def _write_codes(self, front: Front, pointer: int) -> dict[str, int]:
        """Writes the operator codes; returns the index of one for each name."""
        old = self._root.tables(schema.Model.OPERATOR_CODES)
        names = [operator_name(table) for table in old]
        names += sorted({name for own in self._inserted.values() for name, _, _ in own} - {*names})
        kept: list[Table | None] = [None] * len(names)
        for i, table in enumerate(old):
            if table.scalar(schema.OperatorCode.VERSION, INT32, 1) >= self._versions.get(names[i], 1):
                kept[i] = table
        new = [name for name, table in zip(names, kept, strict=True) if table is None]
        for place, name in zip(front.table_list(pointer, kept), new, strict=True):
            code = schema.OPERATOR_NAMES.index(name)
            fields: dict[int, int | None] = {
                schema.OperatorCode.DEPRECATED_BUILTIN_CODE: min(code, _LARGEST_OLD_CODE),
                schema.OperatorCode.VERSION: self._versions.get(name, 1),
                schema.OperatorCode.BUILTIN_CODE: code,
            }
            front.table(place, fields)
        return {name: i for i, name in enumerate(names)}

    def _write_tensors(
        self, front: Front, pointer: int, index: int, graph: Table, buffers: "_Buffers", vectors: "_Vectors"
    ) -> None:
        added = self._added[index]
        old = graph.tables(schema.SubGraph.TENSORS)
        replaced = [self._replaced.get((index, i)) for i in range(len(old))]
        kept = [table if new is None else None for table, new in zip(old, replaced, strict=True)]
        places = front.table_list(pointer, [*kept, *[None] * len(added)])
        for place, new in zip(places, [*(n for n in replaced if n is not None), *added], strict=True):
            _write_tensor(front, place, old[new.like.index], new, buffers.index_of(new), vectors)

    def _write_operators(
        self, front: Front, pointer: int, index: int, graph: Table, codes: dict[str, int], vectors: "_Vectors"
    ) -> None:
        operators: list[Table | None] = []
        inserted: list[tuple[str, int, int]] = []
        old = graph.tables(schema.SubGraph.OPERATORS)
        for position in range(len(old) + 1):
            own = self._inserted.get((index, position), [])
            inserted += own
            operators += [*[None] * len(own), *old[position : position + 1]]
        for place, (name, x, y) in zip(front.table_list(pointer, operators), inserted, strict=True):
            fields = {
                schema.Operator.OPCODE_INDEX: codes[name],
                schema.Operator.INPUTS: None,
                schema.Operator.OUTPUTS: None,
            }
            _, inputs, outputs = front.table(place, fields)
            vectors.add(inputs, np.array([x], "<i4"))
            vectors.add(outputs, np.array([y], "<i4"))


class _Vectors:
    """Vectors of scalars, equal ones once; they stand behind all tables, as offsets point forwards."""

    def __init__(self):
        self._pointers: dict[tuple[bytes, np.dtype], list[int]] = collections.defaultdict(list)

    def add(self, pointer: int, values: np.ndarray) -> None:
        """A vector, and the field that points to it."""
        self._pointers[values.tobytes(), values.dtype].append(pointer)

    def write(self, front: Front) -> None:
        """Writes all of them."""
        for (content, dtype), pointers in self._pointers.items():
            front.shared_vector(pointers, content, max(4, dtype.itemsize), length=len(content) // dtype.itemsize)


class _Buffers:
    """Where the elements of tensors stand: in place where all that use a buffer agree, else in new ones.

    Attributes:
      new: the contents of the buffers to add.
    """

    def __init__(self, model: Model, replaced: dict[tuple[int, int], NewTensor], edits: Edits, count: int):
        self.new: list[bytes] = []
        self._edits, self._count = edits, count
        users = collections.defaultdict(set)
        for tensor in model.tensors:
            if tensor.is_constant:
                users[tensor.data_offset].add(replaced[tensor.key].content if tensor.key in replaced else None)
        agreed = {offset for offset, contents in users.items() if len(contents) == 1 and None not in contents}
        self._in_place = agreed - {*model.metadata_offsets}

    def index_of(self, new: NewTensor) -> int:
        """The index of a tensor's buffer; its elements are written."""
        old, content = new.like, new.content
        if content is None:
            return 0 if new.name else old.buffer
        if not new.name and old.data_offset in self._in_place and len(content) == old.data.nbytes:
            was = np.frombuffer(old.data.tobytes(), np.uint8)
            self._edits.set(old.data_offset, was, np.frombuffer(content, np.uint8), f"elements of {old.label}")
            return old.buffer
        self.new.append(content)
        return self._count + len(self.new) - 1


def _write_tensor(front: Front, pointer: int, old: Table, new: NewTensor, buffer: int, vectors: _Vectors) -> None:
    """A tensor of the shape of an old one. Its fields of one byte take four."""
    fields: dict[int, int | None] = {field: None for field in _KEPT if old.target(field)}
    fields |= {
        schema.Tensor.TYPE: schema.TENSOR_TYPES.index(new.type),
        schema.Tensor.BUFFER: buffer,
        schema.Tensor.IS_VARIABLE: old.scalar(schema.Tensor.IS_VARIABLE, UINT8),
        schema.Tensor.HAS_RANK: old.scalar(schema.Tensor.HAS_RANK, UINT8),
    }
    own = [schema.Tensor.NAME] if new.name else []
    own += [schema.Tensor.QUANTIZATION] if new.scale is not None else []
    fields |= dict.fromkeys(own)
    places = dict(zip(own, front.changed(pointer, old, dict(sorted(fields.items())), tuple(own)), strict=True))
    if new.name:
        front.vector(places[schema.Tensor.NAME], new.name.encode(), 4, terminator=b"\0")
    if new.scale is not None:
        quantization: dict[int, int | None] = {
            schema.Quantization.SCALE: None,
            schema.Quantization.ZERO_POINT: None,
            schema.Quantization.QUANTIZED_DIMENSION: new.dimension,
        }
        scales, zero_points, _ = front.table(places[schema.Tensor.QUANTIZATION], quantization)
        front.vector(scales, new.scale.astype("<f4").tobytes(), 4, length=new.scale.size)  # edited on its own later
        vectors.add(zero_points, np.asarray(new.zero_point, "<i8"))
