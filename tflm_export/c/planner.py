# SPDX-License-Identifier: Apache-2.0
"""Where tensors live in the arena: buffers whose lifetimes do not meet share memory.

Greedy by size (arXiv 2001.03288): the largest buffer first, each at the lowest offset that is free for all of its life.
"""

import dataclasses
from collections.abc import Hashable, Sequence


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Memory that holds something from one step to another.

    Attributes:
      key: what it holds.
      size: bytes, 0 or more.
      first, last: steps, both inclusive, first <= last.
    """

    key: Hashable
    size: int
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class Arena:
    """Offsets of buffers in an arena.

    Attributes:
      offsets: bytes, by key; multiples of the alignment.
      size: bytes of the arena.
      lower_bound: what is alive at once at the worst step; no plan needs less.
    """

    offsets: dict[Hashable, int]
    size: int
    lower_bound: int


def plan(buffers: Sequence[Buffer], alignment: int) -> Arena:
    """Places buffers in one arena; the same plan for the same buffers, whatever their order.

    Args:
      buffers: what lives in it.
      alignment: of every buffer, in bytes.
    """
    placed: list[tuple[int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first, b.last, repr(b.key))):
        offset = 0
        neighbours = [(o, b) for o, b in placed if b.first <= buffer.last and buffer.first <= b.last]
        for start, neighbour in sorted(neighbours, key=lambda pair: pair[0]):
            if start - offset >= buffer.size:
                break
            offset = max(offset, aligned(start + neighbour.size, alignment))
        placed.append((offset, buffer))
    size = max((offset + aligned(b.size, alignment) for offset, b in placed), default=0)
    return Arena({b.key: offset for offset, b in placed}, size, _most_alive(buffers, alignment))


def aligned(size: int, alignment: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // alignment) * alignment


def _most_alive(buffers: Sequence[Buffer], alignment: int) -> int:
    steps = {b.first for b in buffers}
    alive = (sum(aligned(b.size, alignment) for b in buffers if b.first <= step <= b.last) for step in steps)
    return max(alive, default=0)
