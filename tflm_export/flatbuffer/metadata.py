"""Named metadata buffers of a .tflite file: read one, or add some without touching what is there.

FlatBuffers offsets only point forwards, so a root table that must refer to a longer list of buffers cannot go to the
end of the file. It goes to the front: new tables are put before the old file, which moves as a block. Its own offsets
are relative and stay right, and so does an appended zip, whose directory is found from the end. Only files with data at
absolute positions (outside the FlatBuffer, for models over 2 GB) are refused.
"""

import struct

from tflm_export.errors import ModelError
from tflm_export.flatbuffer import schema
from tflm_export.flatbuffer.reader import UINT32, UINT64, Reader, Table

_ALIGNMENT = 64  # the old file moves by a multiple of this, so that its tensors stay aligned
_DATA_ALIGNMENT = 16


def read_metadata(data: bytes, name: str) -> bytes | None:
    """The content of the metadata entry `name`, None where there is none.

    Raises:
      ModelError: the file is damaged.
    """
    root = Reader(data).root()
    for entry in root.tables(schema.Model.METADATA):
        if entry.string(schema.Metadata.NAME) == name:
            buffers = root.tables(schema.Model.BUFFERS)
            index = entry.scalar(schema.Metadata.BUFFER, UINT32)
            if index >= len(buffers):
                raise ModelError(f"the file is damaged: metadata {name} names buffer {index} of {len(buffers)}")
            content = buffers[index].vector(schema.Buffer.DATA, "u1")
            return content.values.tobytes() if content is not None else b""
    return None


def add_metadata(data: bytes, contents: dict[str, bytes]) -> bytes:
    """The file with metadata entries added; older entries of these names are taken off the list first.

    Args:
      data: a .tflite file.
      contents: the entries' bytes by name, e.g. "keras_rat.rescale".

    Returns:
      The old file, byte for byte, behind a new root table.

    Raises:
      ModelError: the file is damaged, or keeps tensors outside its FlatBuffer.
    """
    root = Reader(data).root()
    buffers = root.tables(schema.Model.BUFFERS)
    if any(table.scalar(schema.Buffer.OFFSET, UINT64) > 1 for table in buffers):
        raise ModelError("the model keeps tensors outside its FlatBuffer; metadata cannot be added")
    entries = [t for t in root.tables(schema.Model.METADATA) if t.string(schema.Metadata.NAME) not in contents]
    front = _Front()
    buffer_list, entry_list = front.model(root)
    new_buffers = front.table_list(buffer_list, buffers, len(contents))
    new_entries = front.table_list(entry_list, entries, len(contents))
    for i, (name, content) in enumerate(contents.items()):
        (content_field,) = front.table(new_buffers[i], {schema.Buffer.DATA: None})
        front.vector(content_field, content, _DATA_ALIGNMENT)
        fields = {schema.Metadata.NAME: None, schema.Metadata.BUFFER: len(buffers) + i}
        name_field, _ = front.table(new_entries[i], fields)
        front.vector(name_field, name.encode(), 4, terminator=b"\0")
    return front.before(data)


class _Front:
    """The bytes that go before the old file. Offset fields are written as 0 and filled in when their target comes."""

    def __init__(self):
        self._bytes = bytearray(4) + schema.FILE_IDENTIFIER
        self._old_targets: dict[int, int] = {}  # position of an offset field -> its target in the old file

    def model(self, root: Table) -> tuple[int, int]:
        """The root table, its fields as the old root's; returns where its lists of buffers and metadata point from."""
        fields = {number: None for number in range(1, root.field_count) if root.target(number)}
        fields |= {schema.Model.BUFFERS: None, schema.Model.METADATA: None}
        fields[schema.Model.VERSION] = root.scalar(schema.Model.VERSION, UINT32)
        fields = dict(sorted(fields.items()))
        positions = dict(zip(fields, self.table(0, fields), strict=True))
        for number in fields.keys() - {schema.Model.VERSION, schema.Model.BUFFERS, schema.Model.METADATA}:
            self._old_targets[positions[number]] = root.target(number)
        return positions[schema.Model.BUFFERS], positions[schema.Model.METADATA]

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

    def table_list(self, pointer: int, old: list[Table], more: int) -> list[int]:
        """A vector of tables, the old ones and some to come; returns where those are pointed to from."""
        self._point(pointer, len(self._bytes))
        self._bytes += struct.pack("<I", len(old) + more)
        for table in old:
            self._old_targets[len(self._bytes)] = table.offset
            self._bytes += bytes(4)
        first = len(self._bytes)
        self._bytes += bytes(4 * more)
        return list(range(first, len(self._bytes), 4))

    def vector(self, pointer: int, content: bytes, alignment: int, terminator: bytes = b"") -> None:
        """A vector of bytes whose elements are aligned."""
        self._bytes += bytes(-(len(self._bytes) + 4) % alignment)
        self._point(pointer, len(self._bytes))
        self._bytes += struct.pack("<I", len(content)) + content + terminator
        self._align(4)

    def before(self, data: bytes) -> bytes:
        """The file: these bytes, then the old file."""
        self._align(_ALIGNMENT)
        for position, target in self._old_targets.items():
            self._point(position, len(self._bytes) + target)
        return bytes(self._bytes) + data

    def _point(self, position: int, target: int) -> None:
        struct.pack_into("<I", self._bytes, position, target - position)

    def _align(self, alignment: int) -> None:
        self._bytes += bytes(-len(self._bytes) % alignment)
