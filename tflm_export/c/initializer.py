# SPDX-License-Identifier: Apache-2.0
"""Constants of C's structures."""

from collections.abc import Mapping


def initializer(members: Mapping[str, object]) -> str:
    """The braces of a structure: all its members in their order, or the first ones.

    Their names are comments: C99 would have them as designators, which C++ has not before C++20.
    """
    return "{" + ", ".join(f"/* {name} */ {value}" for name, value in members.items()) + "}"
