# SPDX-License-Identifier: Apache-2.0
"""What statements are made of."""

from collections.abc import Mapping

import numpy as np

from tflm_export.c.initializer import initializer

INT32_REACH = 1 << 31
INT64_REACH = 1 << 63


def structure(kind: str, name: str, members: Mapping[str, object]) -> str:
    """A constant structure."""
    return f"static const {kind} {name} = {initializer(members)};"


def array(values) -> np.ndarray:
    """int32; one 0 where there are none, for C has no empty arrays."""
    return np.array(list(values) or [0], np.int32)
