# SPDX-License-Identifier: Apache-2.0
"""TILE, BROADCAST_TO, REVERSE_V2 and MIRROR_PAD."""

import numpy as np
import pytest

from tests.helpers.operators import A, activation, indices, one_operator
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tflm_export import ModelError
from tflm_export.simulator import simulate, unsupported


def moved(op, how, shape, x=A, table=None, **options) -> bytes:
    return one_operator(op, [x, indices(how)], {**x, "shape": list(shape)}, 2, table, **options)


def mirrored(border, shape, mode) -> bytes:
    return moved("MIRROR_PAD", border, shape, table="MirrorPadOptions", mode=mode)


class TestTile(SimulatedTests):
    models = {  # noqa: RUF012
        "columns": (moved("TILE", [1, 1, 2, 3], (1, 6, 12, 12)), LITERT),
        "rows": (moved("TILE", [3, 1, 1, 1], (3, 6, 6, 4)), LITERT),
    }


class TestBroadcastTo(SimulatedTests):
    models = {  # noqa: RUF012
        "channels": (moved("BROADCAST_TO", [1, 6, 5, 4], (1, 6, 5, 4), activation(0.031, -7, (1, 6, 1, 4))), BOTH),
        "another dimension": (moved("BROADCAST_TO", [2, 3, 4], (2, 3, 4), activation(0.031, -7, (3, 4))), BOTH),
    }


class TestReverse(SimulatedTests):
    models = {  # noqa: RUF012
        "width": (moved("REVERSE_V2", [2], (1, 6, 6, 4)), BOTH),
        "rows": (moved("REVERSE_V2", [0], (3, 4), activation(0.031, -7, (3, 4))), BOTH),
    }


class TestMirrorPad(SimulatedTests):
    models = {  # noqa: RUF012
        "reflect": (mirrored([[0, 0], [1, 5], [0, 2], [3, 0]], (1, 12, 8, 7), 0), BOTH),
        "symmetric": (mirrored([[0, 0], [6, 1], [0, 2], [4, 0]], (1, 13, 8, 8), 1), BOTH),
        "rows": (mirrored([[1, 0], [0, 0], [0, 0], [0, 0]], (2, 6, 6, 4), 1), BOTH),
    }


@pytest.mark.parametrize(
    ("border", "mode", "reason"),
    [
        ([[0, 0], [6, 0], [0, 0], [0, 0]], 0, "wider than its input"),
        ([[0, 0], [-1, 0], [0, 0], [0, 0]], 1, "wider than its input"),
        ([[0, 0], [1, 0]], 1, "does not fit"),
        ([[0, 0], [0, 0], [0, 0], [0, 0]], 2, "mode 2"),
    ],
)
def test_borders_that_cannot_be_mirrored_are_named(border, mode, reason):
    (line,) = unsupported(mirrored(border, (1, 12, 6, 4), mode))
    assert reason in line


def test_copies_that_do_not_make_the_output_are_refused():
    """Before they take memory."""
    data = moved("TILE", [1, 1, 60_000, 60_000], (1, 6, 6, 4))
    with pytest.raises(ModelError, match=r"TILE \(y\) cannot run: \[1, 1, 60000, 60000\] copies of \[1, 6, 6, 4\]"):
        simulate(data, np.zeros((1, 6, 6, 4), np.int8), "tflite")
