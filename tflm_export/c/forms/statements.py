# SPDX-License-Identifier: Apache-2.0
"""What statements are made of."""

from collections.abc import Mapping

import numpy as np

from tflm_export.c.initializer import initializer

INT32_REACH = 1 << 31
INT64_REACH = 1 << 63


def integer(value: int) -> str:
    """A C constant of an integer within 64 bits."""
    if value == -INT64_REACH:
        return f"({value + 1}LL - 1)"  # its magnitude is no int64
    return f"{value}LL" if not -INT32_REACH < value < INT32_REACH else str(value)


def integers(*values: int) -> str:
    """Several, as arguments."""
    return ", ".join(map(integer, values))


def structure(kind: str, name: str, members: Mapping[str, object]) -> str:
    """A constant structure."""
    return f"static const {kind} {name} = {initializer(members)};"


def array(values) -> np.ndarray:
    """int32; one 0 where there are none, for C has no empty arrays."""
    return np.array(list(values) or [0], np.int32)
