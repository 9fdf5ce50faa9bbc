# SPDX-License-Identifier: Apache-2.0
"""In-place edits of a file: same length, and every byte that is not named stays. Knows no operator."""

import numpy as np

from tflm_export.errors import ModelError


class Edits:
    """The bytes of a file, and edits to them."""

    def __init__(self, data: bytes):
        self._data = bytearray(data)
        self._lengths: dict[int, int] = {}  # of the edited ranges, by offset

    def set(self, offset: int, old: np.ndarray, new: np.ndarray, what: str) -> None:
        """Replaces the elements of a vector.

        Args:
          offset: byte position of the vector in the file.
          old: the elements that stand there.
          new: as many elements; converted to the type of the old ones, which must hold them.
          what: named in errors.

        Raises:
          ModelError: the same bytes were already given another content (two users of one vector disagree).
        """
        content = np.ascontiguousarray(new, old.dtype).tobytes()
        if len(content) != old.nbytes:
            raise ValueError(f"{what}: {len(content)} bytes cannot replace {old.nbytes}")
        place = slice(offset, offset + len(content))
        if offset in self._lengths and self._data[place] != content:
            raise ModelError(f"{what}: its bytes are shared with another tensor that needs other values")
        self._lengths[offset] = max(len(content), self._lengths.get(offset, 0))
        self._data[place] = content

    def finish(self) -> bytes:
        """The file with all edits made.

        Raises:
          ModelError: vectors that were edited overlap in part.
        """
        end = 0
        for offset, length in sorted(self._lengths.items()):
            if offset < end:
                raise ModelError(f"the file is damaged: two vectors overlap at offset {offset}")
            end = offset + length
        return bytes(self._data)
