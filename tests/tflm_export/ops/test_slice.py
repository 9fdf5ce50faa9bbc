# SPDX-License-Identifier: Apache-2.0
"""SLICE and DYNAMIC_UPDATE_SLICE."""

import numpy as np
import pytest

from tests.helpers.operators import A, activation, indices, one_operator
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tflm_export import ModelError
from tflm_export.simulator import simulate


def block(begin, size, shape, x=A) -> bytes:
    return one_operator("SLICE", [x, indices(begin), indices(size)], {**x, "shape": list(shape)}, 2, "SliceOptions")


def update(begin) -> bytes:
    small = activation(0.031, -7, (1, 2, 3, 4))
    return one_operator("DYNAMIC_UPDATE_SLICE", [A, small, indices(begin)], A)


WIDE = activation(0.031, -7, (3, 5), type="INT16")


class TestSlice(SimulatedTests):
    models = {  # noqa: RUF012
        "inner": (block([0, 1, 2, 1], [1, 3, 2, 2], (1, 3, 2, 2)), BOTH),
        "to the end": (block([0, 2, 0, 3], [-1, -1, 6, -1], (1, 4, 6, 1)), BOTH),
        "rows": (block([1, 0], [2, 4], (2, 4), WIDE), BOTH),
        "integers": (block([1, 0], [2, 2], (2, 2), {"shape": [3, 4], "type": "INT32"}), BOTH),
    }


class TestDynamicUpdateSlice(SimulatedTests):
    models = {  # noqa: RUF012
        "inside": (update([0, 1, 2, 0]), BOTH),
        "moved to fit": (update([3, 5, -2, 1]), LITERT),
    }


def test_a_block_outside_is_refused():
    with pytest.raises(ModelError, match=r"SLICE \(y\) cannot run: elements 4 to 7 of 6"):
        simulate(block([0, 4, 0, 0], [1, 3, 6, 4], (1, 3, 6, 4)), np.zeros((1, 6, 6, 4), np.int8), "tflite")
