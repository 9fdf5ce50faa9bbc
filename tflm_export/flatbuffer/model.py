# SPDX-License-Identifier: Apache-2.0
"""Read view of a .tflite file: subgraphs, tensors, operators and where their numbers stand in the file."""

import dataclasses
import enum
import functools
import math
import os
import struct

import numpy as np

from tflm_export import files
from tflm_export.errors import ModelError
from tflm_export.flatbuffer import int4, options, schema
from tflm_export.flatbuffer.reader import INT8, INT32, UINT8, UINT32, UINT64, Reader, Table, Vector
from tflm_export.terminal import visible

OTHER_FILES = {  # what is taken for a model, by its first bytes
    b"version https://git-lfs": "a Git LFS pointer to one; `git lfs pull` fetches it",
    b"\x89HDF": "an HDF5 file, as Keras writes; convert it with the TFLite converter to full int8 first",
    b"PK\x03\x04": "a zip archive, as .keras files are; convert the model with the TFLite converter to full int8 first",
}
LONGEST_NAME = 60  # characters of a tensor's name in messages


@dataclasses.dataclass(frozen=True)
class Quantization:
    """Affine quantisation of a tensor: real = scale * (integer - zero_point).

    Attributes:
      scale: float32 [1] or [channels].
      zero_point: int64 [1] or [channels].
      dimension: the axis of the channels where there are several.
    """

    scale: Vector
    zero_point: np.ndarray
    dimension: int


def short_name(name: str) -> str:
    """A tensor's name for people: the converter's, which lists all that was fused, is cut to 60 characters."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def tensor_label(index: int, name: str) -> str:
    """How messages name a tensor, which may have no name."""
    return named(f"tensor {index}", short_name(name))


def named(what: str, name: str) -> str:
    """Something and its name in brackets, if it has one; in one line, whatever characters are in them."""
    return visible(f"{what} ({name})" if name else what)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    Attributes:
      subgraph, index: where it stands.
      name: as in the file.
      type: "INT8", "FLOAT32", ... (TensorType).
      shape: dimensions; -1 nowhere, the schema gives unknown ones as 1.
      buffer: index of its buffer; buffer 0 is the empty one.
      stored: its constant elements as they stand in the file: in the tensor's shape, or (INT4) packed bytes; None where
        it is computed at run time or of an opaque type.
      data_offset: byte position of its constant elements in the file.
      quantization: None where it is not quantised.
      is_variable: whether it keeps its value from one inference to the next.
      is_open: whether the file leaves more of its dimensions unknown than the first, which is that of rows.
    """

    subgraph: int
    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int
    stored: np.ndarray | None
    data_offset: int
    quantization: Quantization | None
    is_variable: bool
    is_open: bool

    @property
    def key(self) -> tuple[int, int]:
        """(subgraph, index): the tensor's identity in the file."""
        return self.subgraph, self.index

    @property
    def label(self) -> str:
        """How messages name the tensor."""
        return tensor_label(self.index, self.name)

    @property
    def is_constant(self) -> bool:
        return self.data_offset > 0

    @functools.cached_property
    def data(self) -> np.ndarray | None:
        """Its constant elements in its shape (INT4 as int8); None where there are none, or of an opaque type."""
        return int4.unpack(self.stored, self.shape) if self._is_packed else self.stored

    def encoded(self, elements: np.ndarray) -> np.ndarray:
        """Elements of a constant, of its shape, as they stand in the file."""
        return int4.pack(elements) if self._is_packed else elements

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer that a constant of its type can hold."""
        if self.type == "INT4":
            return int4.LIMITS
        limits = np.iinfo(self.stored.dtype)
        return int(limits.min), int(limits.max)

    @property
    def _is_packed(self) -> bool:
        return self.type == "INT4" and self.stored is not None

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real numbers through a scale."""
        return self.quantization is not None and self.type in ("INT8", "UINT8", "INT16", "INT4")

    @property
    def scale(self) -> float:
        """The per-tensor scale."""
        return float(self.quantization.scale.values[0])

    @property
    def zero_point(self) -> int:
        """The per-tensor zero point."""
        return int(self.quantization.zero_point[0])


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a subgraph.

    Attributes:
      subgraph, index: where it stands.
      name: "CONV_2D", ...; "CUSTOM:name" for a custom operator.
      inputs, outputs: tensors; None for an optional input that is left out.
      table: its table in the file; `option` reads from it.
    """

    subgraph: int
    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    table: Table | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def key(self) -> tuple[int, int]:
        """(subgraph, index): the operator's identity in the file."""
        return self.subgraph, self.index

    @property
    def label(self) -> str:
        """How messages name the operator."""
        return named(f"operator {self.index} {self.name}", self.outputs[0].name if self.outputs else "")

    def option(self, field: enum.IntEnum, layout: struct.Struct = INT32, default=0):
        """A scalar of the operator's option table.

        Args:
          field: a member of one of the enumerations in `options`, e.g. `options.Conv2DOptions.STRIDE_W`.
          layout: its type.
          default: the schema's default.

        Raises:
          ModelError: the operator has an option table of another kind, or it leaves the file.
        """
        table = self._options(type(field))
        return default if table is None else table.scalar(field, layout, default)

    def option_offset(self, field: enum.IntEnum) -> int:
        """The byte position of a scalar of the operator's option table, 0 where it is absent."""
        table = self._options(type(field))
        return 0 if table is None else table.position(field)

    @property
    def options_offset(self) -> int:
        """The byte position of the operator's option table, 0 where it has none."""
        return self.table.target(schema.Operator.BUILTIN_OPTIONS) if self.table is not None else 0

    @property
    def intermediates(self) -> tuple[int, ...]:
        """Indices of the tensors that describe values inside the operator; may be out of range."""
        return () if self.table is None else self.table.integers(schema.Operator.INTERMEDIATES)

    def option_string(self, field: enum.IntEnum) -> str:
        """A string of the operator's option table, empty where it is absent."""
        table = self._options(type(field))
        return "" if table is None else table.string(field)

    def _options(self, kind: type) -> Table | None:
        code, table = self._option_table
        if code and code != options.UNION_CODES[kind]:
            raise ModelError(f"the file is damaged: {self.label} has options of type {code}, not {kind.__name__}")
        return table

    @functools.cached_property
    def _option_table(self) -> tuple[int, Table | None]:
        """The code of the option table in the union, and the table; 0 and None where there is none."""
        code = self.table.scalar(schema.Operator.BUILTIN_OPTIONS_TYPE, UINT8) if self.table is not None else 0
        return code, self.table.table(schema.Operator.BUILTIN_OPTIONS) if code else None


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A subgraph: operators in execution order, and the tensors it takes and gives."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Model:
    """A .tflite file and the view on it.

    Attributes:
      data: the file.
      subgraphs: the main one first.
      metadata_offsets: byte positions of the data of buffers that metadata entries use.
    """

    data: bytes
    subgraphs: tuple[Subgraph, ...]
    metadata_offsets: tuple[int, ...] = ()

    @property
    def operators(self):
        """All operators, subgraph after subgraph in execution order."""
        return (operator for subgraph in self.subgraphs for operator in subgraph.operators)

    @property
    def tensors(self):
        """All tensors, subgraph after subgraph."""
        return (tensor for subgraph in self.subgraphs for tensor in subgraph.tensors)


def parse(data: bytes | str | os.PathLike) -> Model:
    """Reads the view of a .tflite file.

    Args:
      data: the whole file, or its path; bytes appended after the FlatBuffer (TFLite Metadata's zip) are carried along.

    Raises:
      UsageError: there is no such file, or `data` is neither bytes nor a path.
      ModelError: the bytes are no TFLite model, are damaged or cut short, or are of another schema version.
    """
    data = files.content(data, "a .tflite file")
    if not data:
        raise ModelError("the file is empty")
    if data[4:8] != schema.FILE_IDENTIFIER:
        known = [f"not a TFLite model, but {kind}" for start, kind in OTHER_FILES.items() if data.startswith(start)]
        found = f"bytes 4..8 are {data[4:8]!r}, a .tflite file has {schema.FILE_IDENTIFIER!r}"
        raise ModelError(known[0] if known else f"not a TFLite model: {found}")
    root = Reader(data).root()
    version = root.scalar(schema.Model.VERSION, UINT32)
    if version != schema.SCHEMA_VERSION:
        raise ModelError(f"TFLite schema version {version} is not supported; version {schema.SCHEMA_VERSION} is")
    buffers = [_buffer(table) for table in root.tables(schema.Model.BUFFERS)]
    codes = [operator_name(table) for table in root.tables(schema.Model.OPERATOR_CODES)]
    subgraphs = root.tables(schema.Model.SUBGRAPHS)
    indices = [table.scalar(schema.Metadata.BUFFER, UINT32) for table in root.tables(schema.Model.METADATA)]
    metadata = tuple(b.offset for i in indices if i < len(buffers) and (b := buffers[i]) is not None)
    views = tuple(_subgraph(i, table, buffers, codes) for i, table in enumerate(subgraphs))
    return Model(root.reader.data, views, metadata)


def _buffer(table: Table) -> Vector | None:
    start = table.scalar(schema.Buffer.OFFSET, UINT64)
    if start > 1:  # data outside the FlatBuffer, as in models over 2 GB
        return table.reader.span(start, table.scalar(schema.Buffer.SIZE, UINT64), np.dtype("u1"))
    return table.vector(schema.Buffer.DATA, "u1")


def operator_name(table: Table) -> str:
    """The name of an operator code's table; "CUSTOM:name" for a custom one."""
    code = table.scalar(schema.OperatorCode.DEPRECATED_BUILTIN_CODE, INT8)
    # Files from before schema version 3a have only the one-byte field; newer ones put 127 or the same code there.
    code = max(code, table.scalar(schema.OperatorCode.BUILTIN_CODE, INT32))
    if not 0 <= code < len(schema.OPERATOR_NAMES):
        return f"UNKNOWN_{code}"
    name = schema.OPERATOR_NAMES[code]
    return f"CUSTOM:{table.string(schema.OperatorCode.CUSTOM_CODE)}" if name == "CUSTOM" else name


def _subgraph(index: int, table: Table, buffers: list, codes: list) -> Subgraph:
    tensors = tuple(_tensor(index, i, t, buffers) for i, t in enumerate(table.tables(schema.SubGraph.TENSORS)))
    operators = tuple(
        _operator(index, i, t, tensors, codes) for i, t in enumerate(table.tables(schema.SubGraph.OPERATORS))
    )
    where = f"subgraph {index}"
    return Subgraph(
        index,
        table.string(schema.SubGraph.NAME),
        tensors,
        operators,
        _pick(tensors, table.integers(schema.SubGraph.INPUTS), f"{where} inputs"),
        _pick(tensors, table.integers(schema.SubGraph.OUTPUTS), f"{where} outputs"),
    )


def _pick(tensors: tuple, indices: tuple[int, ...], where: str, optional: bool = False) -> tuple:
    picked = []
    for i in indices:
        if i == -1 and optional:
            picked.append(None)
        elif 0 <= i < len(tensors):
            picked.append(tensors[i])
        else:
            raise ModelError(f"the file is damaged: {where} name tensor {i} of {len(tensors)}")
    return tuple(picked)


def _operator(subgraph: int, index: int, table: Table, tensors: tuple, codes: list) -> Operator:
    code = table.scalar(schema.Operator.OPCODE_INDEX, UINT32)
    if code >= len(codes):
        raise ModelError(f"the file is damaged: operator {index} names operator code {code} of {len(codes)}")
    where = f"operator {index} {codes[code]}"
    return Operator(
        subgraph,
        index,
        codes[code],
        _pick(tensors, table.integers(schema.Operator.INPUTS), f"inputs of {where}", optional=True),
        _pick(tensors, table.integers(schema.Operator.OUTPUTS), f"outputs of {where}"),
        table,
    )


def _tensor(subgraph: int, index: int, table: Table, buffers: list) -> Tensor:
    name = table.string(schema.Tensor.NAME)
    where = tensor_label(index, name)
    code = table.scalar(schema.Tensor.TYPE, INT8)
    kind = schema.TENSOR_TYPES[code] if 0 <= code < len(schema.TENSOR_TYPES) else f"UNKNOWN_{code}"
    shape = table.integers(schema.Tensor.SHAPE)
    buffer = table.scalar(schema.Tensor.BUFFER, UINT32)
    if buffer >= max(len(buffers), 1):  # buffer 0 means "none", and may be left out with all the others
        raise ModelError(f"the file is damaged: {where} names buffer {buffer} of {len(buffers)}")
    data, offset = _constant(buffers[buffer] if buffers else None, kind, shape, where)
    quantization = _quantization(table.table(schema.Tensor.QUANTIZATION), where)
    is_variable = bool(table.scalar(schema.Tensor.IS_VARIABLE, UINT8))
    is_open = -1 in table.integers(schema.Tensor.SHAPE_SIGNATURE)[1:]
    return Tensor(subgraph, index, name, kind, shape, buffer, data, offset, quantization, is_variable, is_open)


def _constant(buffer: Vector | None, kind: str, shape: tuple, where: str) -> tuple[np.ndarray | None, int]:
    """The elements of a constant tensor and where they stand."""
    if buffer is None or not buffer.values.size:
        return None, 0
    dtype = schema.DTYPES.get(kind)
    if dtype is None:
        return None, buffer.offset
    elements = math.prod(shape)
    size = int4.packed_size(elements) if kind == "INT4" else elements * dtype.itemsize
    if any(d < 0 for d in shape) or buffer.values.size != size:
        raise ModelError(
            f"the file is damaged: {where} of {kind} {list(shape)} has a buffer of {buffer.values.size} bytes"
        )
    stored = buffer.values.view(dtype)
    return stored if kind == "INT4" else stored.reshape(shape), buffer.offset


def _quantization(table: Table | None, where: str) -> Quantization | None:
    scale = table.vector(schema.Quantization.SCALE, "<f4") if table is not None else None
    if scale is None or not scale.values.size:
        return None
    if not np.isfinite(scale.values).all() or (scale.values < 0).any():
        raise ModelError(f"the file is damaged: {where} has a negative or non-finite scale")
    zeros = table.vector(schema.Quantization.ZERO_POINT, "<i8")
    dimension = table.scalar(schema.Quantization.QUANTIZED_DIMENSION, INT32)
    size = scale.values.size
    zero_point = zeros.values if zeros is not None and zeros.values.size else np.zeros(size, np.int64)
    if zero_point.size not in (1, size):
        raise ModelError(f"the file is damaged: {where} has {size} scales and {zero_point.size} zero points")
    return Quantization(scale, zero_point, dimension)
