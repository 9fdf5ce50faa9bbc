# SPDX-License-Identifier: Apache-2.0
"""Union-find."""

from collections.abc import Hashable, Iterable


def groups(keys: Iterable[Hashable], ties: list[tuple[Hashable, ...]]) -> dict[Hashable, Hashable]:
    """The representative of every key among those that groups of keys tie together."""
    parent = {key: key for key in keys}

    def find(key):
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for tie in ties:
        for other in tie[1:]:
            parent[find(other)] = find(tie[0])
    return {key: find(key) for key in parent}
