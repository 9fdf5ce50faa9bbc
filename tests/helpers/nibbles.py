# SPDX-License-Identifier: Apache-2.0
"""What INT4 elements are in a file, from the definition: python integers, one after the other."""


def packed(elements: list[int]) -> bytes:
    """Two elements a byte, the earlier one in its low half."""
    halves = [element % 16 for element in elements] + [0] * (len(elements) % 2)
    return bytes(halves[i] + 16 * halves[i + 1] for i in range(0, len(halves), 2))


def unpacked(data: bytes, count: int) -> list[int]:
    """The first elements that stand there."""
    halves = [half for byte in data for half in (byte % 16, byte // 16)]
    return [half - 16 if half > 7 else half for half in halves[:count]]
