# SPDX-License-Identifier: Apache-2.0
"""Sweeps of many like cases: some for `make test`, all others with `make test-slow`."""

import collections
import zlib
from collections.abc import Callable, Iterable

import pytest


def sampled(cases: Iterable, often: Callable[[int], bool] | int) -> list:
    """Cases of `pytest.mark.parametrize`, of which some are marked as slow.

    Args:
      cases: of one argument each, or tuples.
      often: which of them, by number, are run by `make test`; n for every n-th.
    """
    every = often if callable(often) else lambda number: number % often == 0
    return [
        case if every(number) else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def thin_out(items: list[pytest.Item]) -> None:
    """Marks as slow what `pytest.mark.sweep(n)` leaves out: of each test's cases that are not, all but a n-th part.

    Which ones is by their names alone, as if drawn by lot: the same in every run, mixed in every parameter, and
    the same ones for tests of the same cases, which share fixtures.
    """
    tests = collections.defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("sweep")
        if marker and hasattr(item, "callspec") and not item.get_closest_marker("slow"):
            (n,) = marker.args
            tests[item.parent.nodeid, item.originalname, n].append(item)
    for (_, _, n), cases in tests.items():
        drawn = sorted(cases, key=lambda item: zlib.crc32(item.callspec.id.encode()))
        for item in drawn[-(-len(cases) // n) :]:
            item.add_marker(pytest.mark.slow)
