# SPDX-License-Identifier: Apache-2.0
"""Lists of names in messages."""

from collections.abc import Iterable

MOST_NAMES = 6


def listed(names: Iterable[str]) -> str:
    """Names separated by commas; of many the first, and how many more there are."""
    names = list(names)
    more = len(names) - MOST_NAMES
    return f"{', '.join(names[:MOST_NAMES])} and {more} more" if more > 0 else ", ".join(names)
