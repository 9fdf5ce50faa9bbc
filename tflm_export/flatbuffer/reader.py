# SPDX-License-Identifier: Apache-2.0
"""Bounds-checked reading of a FlatBuffers buffer; knows no schema.

Source: the FlatBuffers internals document (tables, vtables, vectors, offsets; all little endian).
"""

import dataclasses
import struct

import numpy as np

from tflm_export.errors import ModelError


@dataclasses.dataclass(frozen=True)
class Vector:
    """A vector of scalars inside the file.

    Attributes:
      offset: byte position of the first element in the file.
      values: read-only numpy view of the elements on the file's bytes.
    """

    offset: int
    values: np.ndarray


class Reader:
    """The bytes of a FlatBuffers file, every access checked against their length.

    Raises (all methods): ModelError where an offset leaves the file.
    """

    def __init__(self, data: bytes):
        self.data = data
        self._vtables: dict[int, tuple[int, ...]] = {}

    def unpack(self, layout: struct.Struct, offset: int):
        """One scalar at a byte offset."""
        if offset < 0 or offset + layout.size > len(self.data):
            raise ModelError(f"the file is damaged or cut short: offset {offset} leaves its {len(self.data)} bytes")
        return layout.unpack_from(self.data, offset)[0]

    def vtable(self, offset: int) -> tuple[int, ...]:
        """Where the fields of tables stand in them, 0 for those that are absent. Tables of one kind share vtables."""
        if offset not in self._vtables:
            fields = struct.Struct(f"<{max(0, self.unpack(UINT16, offset) - 4) // 2}H")
            if offset + 4 + fields.size > len(self.data):
                raise ModelError(
                    f"the file is damaged or cut short: a vtable at {offset} leaves its {len(self.data)} bytes"
                )
            self._vtables[offset] = fields.unpack_from(self.data, offset + 4)
        return self._vtables[offset]

    def root(self) -> "Table":
        """The root table."""
        return Table(self, self.unpack(UINT32, 0))

    def extent(self, offset: int, size: int) -> tuple[int, int]:
        """Where the elements of a vector start whose length stands at a byte offset, and how many they are."""
        length = self.unpack(UINT32, offset)
        self._require(offset + 4, length, size)
        return offset + 4, length

    def vector(self, offset: int, dtype) -> Vector:
        """The vector of scalars that starts (with its length) at a byte offset."""
        dtype = np.dtype(dtype)
        start, length = self.extent(offset, dtype.itemsize)
        return Vector(start, np.frombuffer(self.data, dtype, length, start))

    def span(self, start: int, length: int, dtype) -> Vector:
        """`length` scalars from byte `start` on."""
        self._require(start, length, dtype.itemsize)
        return Vector(start, np.frombuffer(self.data, dtype, length, start))

    def _require(self, start: int, length: int, size: int) -> None:
        if start < 0 or start + length * size > len(self.data):
            raise ModelError(
                f"the file is damaged or cut short: a vector of {length} x {size} bytes at offset {start} "
                f"leaves its {len(self.data)} bytes"
            )


UINT8, INT8 = struct.Struct("<B"), struct.Struct("<b")
UINT16, INT32, UINT32, UINT64 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")
FLOAT32 = struct.Struct("<f")


class Table:
    """A table: fields by number, defaults where a field is absent."""

    def __init__(self, reader: Reader, offset: int):
        self.reader = reader
        self.offset = offset
        self._fields = reader.vtable(offset - reader.unpack(INT32, offset))

    def position(self, number: int) -> int:
        """The byte position of a field, 0 where it is absent."""
        relative = self._fields[number] if number < len(self._fields) else 0
        return self.offset + relative if relative else 0

    def scalar(self, number: int, layout: struct.Struct, default=0):
        """A scalar field."""
        position = self.position(number)
        return self.reader.unpack(layout, position) if position else default

    @property
    def field_count(self) -> int:
        """How many fields the table's vtable has room for."""
        return len(self._fields)

    def target(self, number: int) -> int:
        """The byte position an offset field points to, 0 where it is absent."""
        position = self.position(number)
        if not position:
            return 0
        target = position + self.reader.unpack(UINT32, position)
        if target >= len(self.reader.data):
            raise ModelError(f"the file is damaged: offset {target} leaves its {len(self.reader.data)} bytes")
        return target

    def table(self, number: int) -> "Table | None":
        """A sub-table, None where it is absent."""
        target = self.target(number)
        return Table(self.reader, target) if target else None

    def vector(self, number: int, dtype) -> Vector | None:
        """A vector of scalars, None where it is absent."""
        target = self.target(number)
        return self.reader.vector(target, dtype) if target else None

    def tables(self, number: int) -> "list[Table]":
        """A vector of tables, empty where it is absent."""
        offsets = self.vector(number, "<u4")
        if offsets is None:
            return []
        return [
            Table(self.reader, offsets.offset + 4 * i + relative) for i, relative in enumerate(offsets.values.tolist())
        ]

    def integers(self, number: int) -> tuple[int, ...]:
        """A vector of int32, empty where it is absent."""
        target = self.target(number)
        if not target:
            return ()
        start, length = self.reader.extent(target, 4)
        return struct.unpack_from(f"<{length}i", self.reader.data, start)

    def string(self, number: int) -> str:
        """A string, empty where it is absent."""
        target = self.target(number)
        if not target:
            return ""
        start, length = self.reader.extent(target, 1)
        return self.reader.data[start : start + length].decode("utf-8", "replace")
