"""In-place edits of a file: same length, and every byte that is not named stays. Knows no operator."""

import numpy as np

from tflm_export.errors import ModelError


class Edits:
    """A set of byte ranges and their new contents."""

    def __init__(self):
        self._edits: dict[int, bytes] = {}

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
        if self._edits.setdefault(offset, content) != content:
            raise ModelError(f"{what}: its bytes are shared with another tensor that needs other values")

    def apply(self, data: bytes) -> bytes:
        """The file with all edits made."""
        edited = bytearray(data)
        for offset, content in self._edits.items():
            edited[offset : offset + len(content)] = content
        return bytes(edited)
