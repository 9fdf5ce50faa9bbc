# SPDX-License-Identifier: Apache-2.0
"""Integers in the text that `$readmemh` and `$fscanf` read: hexadecimal digits, two's complement."""

from collections.abc import Sequence

import numpy as np

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def digits_of(bits: int) -> int:
    """How many digits so many bits take."""
    return -(-bits // 4)


def digits(integers: np.ndarray, bits: int) -> np.ndarray:
    """The digits of integers modulo 2**bits, the highest first; uint8 characters [integers, digits]. Bits up to 64."""
    words = np.asarray(integers, np.int64).astype(np.uint64) & np.uint64((1 << bits) - 1)
    places = np.arange(digits_of(bits) - 1, -1, -1, dtype=np.uint64) * np.uint64(4)
    return _DIGITS[(words[:, None] >> places) & np.uint64(15)]


def packed(fields: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """The digits of records in which fields of some bits follow one another, the lowest first; any number of bits."""
    parts = [
        (np.asarray(values, np.int64)[:, None] >> np.arange(bits)) & 1 for values, bits in fields if bits
    ]  # fmt: skip
    every = np.concatenate(parts, axis=1)
    missing = -every.shape[1] % 4
    nibbles = np.pad(every, ((0, 0), (0, missing))).reshape(len(every), -1, 4) @ np.array([1, 2, 4, 8])
    return _DIGITS[nibbles[:, ::-1]]


def lines(columns: Sequence[np.ndarray]) -> bytes:
    """A line for each row of some columns of digits, with spaces between them."""
    ends = [np.full((len(columns[0]), 1), ord(end), np.uint8) for end in (" " * (len(columns) - 1) + "\n")]
    parts = [part for column, end in zip(columns, ends, strict=True) for part in (column, end)]
    return np.concatenate(parts, axis=1).tobytes()
