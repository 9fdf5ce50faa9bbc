# SPDX-License-Identifier: Apache-2.0
"""New tables before an old .tflite file.

FlatBuffers offsets only point forwards, so a root table that must refer to a longer list of buffers cannot go to the
end of the file. It goes to the front: new tables are put before the old file, which moves as a block. Its own offsets
are relative and stay right, and so does an appended zip, whose directory is found from the end. Only files with data at
absolute positions (outside the FlatBuffer, for models over 2 GB) cannot move.
"""

import struct

from tflm_export.flatbuffer import schema
from tflm_export.flatbuffer.reader import INT32, UINT32, UINT64, Table

_FILE_ALIGNMENT = 64  # the old file moves by a multiple of this, so that its tensors stay aligned
DATA_ALIGNMENT = 16  # of the elements of a buffer


def has_outside_data(root: Table) -> bool:
    """Whether a file keeps elements of tensors at absolute positions."""
    return any(table.scalar(schema.Buffer.OFFSET, UINT64) > 1 for table in root.tables(schema.Model.BUFFERS))


class Front:
    """The bytes that go before the old file. Offset fields are written as 0 and filled in when their target comes."""

    def __init__(self):
        self._bytes = bytearray(4) + schema.FILE_IDENTIFIER
        self._old_targets: dict[int, int] = {}  # position of an offset field -> its target in the old file

    def model(self, root: Table, *lists: schema.Model) -> list[int]:
        """The root table, its fields as the old root's; returns where those lists that are to be new point from."""
        fields = {number: None for number in range(1, root.field_count) if root.target(number)}
        fields |= dict.fromkeys(lists)
        fields[schema.Model.VERSION] = root.scalar(schema.Model.VERSION, UINT32)
        return self.changed(0, root, dict(sorted(fields.items())), lists)

    def subgraph(self, pointer: int, old: Table, *lists: schema.SubGraph) -> list[int]:
        """A subgraph's table, its fields as an old one's; returns where those lists that are to be new point from."""
        fields = {field: None for field in schema.SubGraph if field in lists or old.position(field)}
        if schema.SubGraph.DEBUG_METADATA_INDEX in fields:
            fields[schema.SubGraph.DEBUG_METADATA_INDEX] = old.scalar(schema.SubGraph.DEBUG_METADATA_INDEX, INT32) % (
                1 << 32
            )
        return self.changed(pointer, old, fields, lists)

    def changed(self, pointer: int, old: Table, fields: dict[int, int | None], new: tuple[int, ...]) -> list[int]:
        """A table whose offsets, but for some, are those of an old one; returns where the `new` ones point from."""
        positions = dict(zip(fields, self.table(pointer, fields), strict=True))
        for number, value in fields.items():
            if value is None and number not in new:
                self._old_targets[positions[number]] = old.target(number)
        return [positions[number] for number in new]

    def table(self, pointer: int, fields: dict[int, int | None]) -> list[int]:
        """A table of 4-byte fields by number, None for an offset to come; returns the positions of the fields."""
        slots = [0] * (max(fields) + 1)
        for i, number in enumerate(fields):
            slots[number] = 4 + 4 * i
        self._align(2)
        vtable = len(self._bytes)
        self._bytes += struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), 4 + 4 * len(fields), *slots)
        self._align(4)
        table = len(self._bytes)
        self._point(pointer, table)
        self._bytes += struct.pack(f"<i{len(fields)}I", table - vtable, *(value or 0 for value in fields.values()))
        return [table + 4 + 4 * i for i in range(len(fields))]

    def table_list(self, pointer: int, tables: list[Table | None]) -> list[int]:
        """A vector of tables, old ones and (None) some to come; returns where those are pointed to from."""
        self._point(pointer, len(self._bytes))
        self._bytes += struct.pack("<I", len(tables))
        coming = []
        for table in tables:
            if table is None:
                coming.append(len(self._bytes))
            else:
                self._old_targets[len(self._bytes)] = table.offset
            self._bytes += bytes(4)
        return coming

    def vector(
        self, pointer: int, content: bytes, alignment: int, terminator: bytes = b"", length: int | None = None
    ) -> None:
        """A vector whose elements are aligned; `length` says how many they are where they are no bytes."""
        self.shared_vector([pointer], content, alignment, terminator, length)

    def shared_vector(
        self, pointers: list[int], content: bytes, alignment: int, terminator: bytes = b"", length: int | None = None
    ) -> None:
        """A `vector` that several fields point to."""
        self._bytes += bytes(-(len(self._bytes) + 4) % alignment)
        for pointer in pointers:
            self._point(pointer, len(self._bytes))
        self._bytes += struct.pack("<I", len(content) if length is None else length) + content + terminator
        self._align(4)

    def before(self, data: bytes) -> bytes:
        """The file: these bytes, then the old file."""
        self._align(_FILE_ALIGNMENT)
        for position, target in self._old_targets.items():
            self._point(position, len(self._bytes) + target)
        return bytes(self._bytes) + data

    def _point(self, position: int, target: int) -> None:
        struct.pack_into("<I", self._bytes, position, target - position)

    def _align(self, alignment: int) -> None:
        self._bytes += bytes(-len(self._bytes) % alignment)
