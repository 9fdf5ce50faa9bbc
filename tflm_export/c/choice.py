# SPDX-License-Identifier: Apache-2.0
"""Which of several ways to compute a layer is taken."""

from collections.abc import Callable, Sequence

from tflm_export.c import cost
from tflm_export.c.step import CStep
from tflm_export.errors import UsageError

Choice = Callable[[Sequence[CStep]], CStep]


def fastest(ways: Sequence[CStep]) -> CStep:
    """The one of the fewest modelled cycles; the first one where the cost of any is unknown."""
    return _least(ways, _cycles)


def _least(ways: Sequence[CStep], price: Callable[[CStep], float | None]) -> CStep:
    prices = [price(way) for way in ways]
    known = [value for value in prices if value is not None]
    return ways[known.index(min(known))] if len(known) == len(ways) else ways[0]


class Smallest:
    """The one that adds the fewest bytes of flash to a program; the first one where those of any are unknown.

    Layers share loops that were made for the same sizes, and kernels that are functions.
    """

    def __init__(self) -> None:
        self._linked: set[tuple[str, ...]] = set()

    def __call__(self, ways: Sequence[CStep]) -> CStep:
        chosen = _least(ways, self._bytes)
        self._linked.add(_shared(chosen))
        return chosen

    def _bytes(self, way: CStep) -> float | None:
        code = None if way.work is None else cost.code_bytes(way.work, _shared(way) in self._linked)
        return None if code is None else way.constant_bytes + code


def _shared(way: CStep) -> tuple[str, ...]:
    """What another layer of the same has already: loops, or the file of a kernel."""
    return way.definitions or way.kernels


def _cycles(way: CStep) -> float | None:
    return None if way.work is None else cost.cycles(way.work)


OPTIMIZE: dict[str, Callable[[], Choice]] = {"speed": lambda: fastest, "size": Smallest}


def choice(optimize: str) -> Choice:
    """For a program that is to be fast ("speed") or small ("size").

    Raises:
      UsageError: it is neither.
    """
    if optimize not in OPTIMIZE:
        raise UsageError(f"optimize must be {' or '.join(OPTIMIZE)}, got {optimize!r}")
    return OPTIMIZE[optimize]()
