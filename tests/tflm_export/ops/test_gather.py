# SPDX-License-Identifier: Apache-2.0
"""GATHER and GATHER_ND."""

import numpy as np
import pytest

from tests.helpers.operators import A, activation, indices, one_operator
from tests.helpers.runtimes import differences
from tests.helpers.simulated import BOTH, SimulatedTests
from tflm_export import ModelError
from tflm_export.simulator import simulate


def gather(positions, shape, axis, batch_dims=0, x=A) -> bytes:
    y = {**x, "shape": list(shape), "data": None}
    return one_operator("GATHER", [x, positions], y, 2, "GatherOptions", axis=axis, batchDims=batch_dims)


def gather_nd(positions, shape) -> bytes:
    return one_operator("GATHER_ND", [A, positions], {**A, "shape": list(shape)}, 2)


TABLE = activation(0.031, -7, (5, 3), data=np.arange(-7, 8))


class TestGather(SimulatedTests):
    models = {  # noqa: RUF012
        "channels": (gather(indices([3, 0, 2, 3]), (1, 6, 6, 4), -1), BOTH),
        "height": (gather(indices([[5, 1], [0, 0]]), (1, 2, 2, 6, 4), 1), BOTH),
        "rows": (gather(indices([0, 0]), (2, 6, 6, 4), 0), BOTH),
        "shared dimension": (gather(indices([[4, 1, 2]]), (1, 3, 6, 4), 1, 1), BOTH),
        "two shared": (gather(indices(np.arange(12).reshape(1, 6, 2) % 6), (1, 6, 2, 4), 2, 2), BOTH),
    }


class TestGatherNd(SimulatedTests):
    models = {  # noqa: RUF012
        "elements": (gather_nd(indices([[0, 1, 2, 3], [0, 5, 5, 0]]), (2,)), BOTH),
        "slices": (gather_nd(indices([[[0, 1], [0, 3]]]), (1, 2, 6, 4)), BOTH),
    }


@pytest.mark.parametrize("runtime", BOTH)
def test_computed_positions_in_a_table(runtime):
    positions = {"shape": [1, 2], "type": "INT32"}
    data = one_operator("GATHER", [TABLE, positions], activation(0.031, -7, (1, 2, 3)), 2, "GatherOptions", axis=0)
    rows = [[np.array([pair], np.int32)] for pair in ([4, 1], [0, 0], [3, 4])]
    assert not differences(data, rows, runtime)


@pytest.mark.parametrize("position", [-1, 6])
def test_positions_outside_are_refused(position):
    """numpy would take one from the end."""
    with pytest.raises(ModelError, match=r"GATHER .* cannot run: positions"):
        simulate(gather(indices([0, position]), (1, 2, 6, 4), 1), np.zeros((1, 6, 6, 4), np.int8), "tflite")
    with pytest.raises(ModelError, match=r"GATHER_ND .* cannot run: positions"):
        simulate(gather_nd(indices([[0, position]]), (1, 6, 4)), np.zeros((1, 6, 6, 4), np.int8), "tflite")
