# SPDX-License-Identifier: Apache-2.0
"""Damaged models: seeds, and mutations of their bytes."""

import random

from benchmarks.datasets import data_folder
from tests.helpers.tflite_builder import residual_network

INTERESTING = [
    value.to_bytes(4, "little")
    for value in (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7F800000, 0x7FC00000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
]


def seeds(largest: int = 120_000) -> list[bytes]:
    """A built model with every known operator, and all real models up to a size where the data folder is present."""
    folder = data_folder()
    paths = sorted(folder.glob("models/*.tflite")) if folder else []
    return [residual_network(batch=1), *(data for path in paths if len(data := path.read_bytes()) <= largest)]


def mutate(data: bytes, source: random.Random) -> bytes:
    """A copy of `data` with up to 16 places changed; most of them among the tables rather than the weights."""
    mutant = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        if len(mutant) < 9:
            break
        # Tables stand at the ends of a file, weights in the middle.
        near = min(len(mutant), source.choice((64, 1024, 8192, len(mutant))))
        place = source.randrange(near) if source.random() < 0.5 else len(mutant) - 1 - source.randrange(near)
        kind = source.random()
        if kind < 0.3:
            mutant[place] = source.randrange(256)
        elif kind < 0.5:
            mutant[place] ^= 1 << source.randrange(8)
        elif kind < 0.75:
            place -= place % 4
            mutant[place : place + 4] = source.choice(INTERESTING)
        elif kind < 0.82:
            other = source.randrange(len(mutant)) & ~3
            mutant[place & ~3 : (place & ~3) + 4] = mutant[other : other + 4]
        elif kind < 0.88:
            del mutant[place:]
        elif kind < 0.94:
            del mutant[place : place + source.randrange(1, 9)]
        else:
            mutant[place:place] = source.randbytes(source.randrange(1, 9))
    return bytes(mutant)
