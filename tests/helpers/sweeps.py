# SPDX-License-Identifier: Apache-2.0
"""Sweeps of many like cases: some for `make test`, all of them with `make test-slow`."""

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
