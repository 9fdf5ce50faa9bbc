# SPDX-License-Identifier: Apache-2.0
"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

import pytest

from tests.helpers.operators import activation, indices, one_operator
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tflm_export.simulator import unsupported

MODES = {"plain": (False, False), "corners": (True, False), "centres": (False, True)}
SIZES = ((13, 9), (3, 5), (1, 1), (7, 8), (29, 16))


def resized(op, size, mode, type="INT8", claimed=None) -> bytes:
    corners, centres = mode
    zero = 0 if type == "INT16" else 9
    x, y = (activation(0.031, zero, s, type) for s in ((1, 7, 8, 3), (1, *(claimed or size), 3)))
    table = {"RESIZE_BILINEAR": "ResizeBilinearOptions"}.get(op, "ResizeNearestNeighborOptions")
    return one_operator(op, [x, indices(size)], y, 2, table, alignCorners=corners, halfPixelCenters=centres)


def every(op, types) -> dict:
    return {
        f"{type} {name} {size}": (resized(op, size, mode, type), runtimes)
        for type, runtimes in types.items()
        for name, mode in MODES.items()
        for size in SIZES
    }


class TestBilinear(SimulatedTests):
    models = every("RESIZE_BILINEAR", {"INT8": BOTH, "UINT8": LITERT, "INT16": LITERT})


class TestNearest(SimulatedTests):
    models = every("RESIZE_NEAREST_NEIGHBOR", {"INT8": BOTH, "UINT8": LITERT, "INT16": BOTH})


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_a_size_that_is_not_the_outputs_is_named(op):
    (line,) = unsupported(resized(op, (3, 4), MODES["plain"], claimed=(4, 3)))
    assert "images of shape [1, 7, 8, 3] do not become [1, 4, 3, 3]" in line
