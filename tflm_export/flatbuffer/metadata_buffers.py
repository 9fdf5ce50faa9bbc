# SPDX-License-Identifier: Apache-2.0
"""Named metadata buffers of a .tflite file: read one, or change the list without touching what is there."""

from tflm_export.errors import ModelError
from tflm_export.flatbuffer import schema
from tflm_export.flatbuffer.front import DATA_ALIGNMENT, Front, has_outside_data
from tflm_export.flatbuffer.reader import UINT32, Reader


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


def metadata_names(data: bytes) -> list[str]:
    """The names of the metadata entries, in the file's order.

    Raises:
      ModelError: the file is damaged.
    """
    return [entry.string(schema.Metadata.NAME) for entry in Reader(data).root().tables(schema.Model.METADATA)]


def add_metadata(data: bytes, contents: dict[str, bytes], without: tuple[str, ...] = ()) -> bytes:
    """The file with metadata entries added; older entries of these names are taken off the list first.

    Args:
      data: a .tflite file.
      contents: the entries' bytes by name, e.g. "keras_rat.rescale".
      without: names of further entries to take off the list.

    Returns:
      The old file, byte for byte, behind a new root table.

    Raises:
      ModelError: the file is damaged, or keeps tensors outside its FlatBuffer.
    """
    root = Reader(data).root()
    buffers = root.tables(schema.Model.BUFFERS)
    if has_outside_data(root):
        raise ModelError("the model keeps tensors outside its FlatBuffer; metadata cannot be changed")
    gone = {*contents, *without}
    entries = [t for t in root.tables(schema.Model.METADATA) if t.string(schema.Metadata.NAME) not in gone]
    front = Front()
    buffer_list, entry_list = front.model(root, schema.Model.BUFFERS, schema.Model.METADATA)
    more = [None] * len(contents)
    new_buffers = front.table_list(buffer_list, [*buffers, *more])
    new_entries = front.table_list(entry_list, [*entries, *more])
    for i, (name, content) in enumerate(contents.items()):
        (content_field,) = front.table(new_buffers[i], {schema.Buffer.DATA: None})
        front.vector(content_field, content, DATA_ALIGNMENT)
        fields = {schema.Metadata.NAME: None, schema.Metadata.BUFFER: len(buffers) + i}
        name_field, _ = front.table(new_entries[i], fields)
        front.vector(name_field, name.encode(), 4, terminator=b"\0")
    return front.before(data)
