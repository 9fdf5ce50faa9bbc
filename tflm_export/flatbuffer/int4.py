# SPDX-License-Identifier: Apache-2.0
"""INT4 elements: two's complement, two a byte, the earlier one in its low half.

Of an odd number of elements the last byte holds one; what its high half holds means nothing.

Source: UnpackPackedIntToInt8 in tensorflow/lite/kernels/internal/portable_tensor_utils.cc.
"""

import math

import numpy as np

LIMITS = (-8, 7)


def packed_size(elements: int) -> int:
    """How many bytes hold that many elements."""
    return (elements + 1) // 2


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The elements of a tensor.

    Args:
      packed: uint8 [packed_size(elements)].
      shape: of the tensor.

    Returns:
      int8 of that shape, -8 to 7; read-only.
    """
    signed = packed.view(np.int8)
    elements = np.empty((packed.size, 2), np.int8)
    np.left_shift(signed, 4, out=elements[:, 0])
    np.right_shift(elements[:, 0], 4, out=elements[:, 0])  # an arithmetic shift: the sign comes along
    np.right_shift(signed, 4, out=elements[:, 1])
    elements = elements.reshape(-1)[: math.prod(shape)].reshape(shape)
    elements.flags.writeable = False
    return elements


def pack(elements: np.ndarray) -> np.ndarray:
    """The bytes of elements in any layout; uint8 [packed_size(elements)].

    Raises:
      ValueError: an element is none of -8 to 7.
    """
    integers = np.asarray(elements).reshape(-1).astype(np.int8)
    if integers.size and not (LIMITS[0] <= integers.min() and integers.max() <= LIMITS[1]):
        raise ValueError(f"INT4 holds {LIMITS[0]} to {LIMITS[1]}, got {integers.min()} to {integers.max()}")
    halves = np.zeros(2 * packed_size(integers.size), np.uint8)
    halves[: integers.size] = integers.view(np.uint8) & 0xF
    return halves[0::2] | halves[1::2] << 4
