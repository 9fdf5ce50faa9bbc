# SPDX-License-Identifier: Apache-2.0
"""PACK and UNPACK."""

import numpy as np

from tests.helpers.operators import A, activation, one_operator
from tests.helpers.simulated import BOTH, SimulatedTests
from tests.helpers.tflite_builder import TFLiteBuilder


def packed(operands, shape, axis) -> bytes:
    y = activation(0.031, -7, shape)
    return one_operator("PACK", operands, y, 2, "PackOptions", axis=axis, valuesCount=len(operands))


def unpacked(axis) -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 3, 2, 4])
    shape = np.delete([1, 3, 2, 4], axis)
    outputs = [b.tensor(f"part{i}", shape, scale=0.0371, zero_point=-3) for i in range([1, 3, 2, 4][axis])]
    b.operator("UNPACK", [x], outputs, 2, axis=axis, num=len(outputs))
    return b.build(x, outputs)


CONSTANT = activation(0.031, -7, (1, 6, 6, 4), data=np.arange(144) % 100)


class TestPack(SimulatedTests):
    models = {  # noqa: RUF012
        "second": (packed([A, A], (1, 2, 6, 6, 4), 1), BOTH),
        "last, with a constant": (packed([A, CONSTANT, A], (1, 6, 6, 4, 3), -1), BOTH),
        "rows": (packed([A, A], (2, 1, 6, 6, 4), 0), BOTH),
    }


class TestUnpack(SimulatedTests):
    models = {f"axis {axis}": (unpacked(axis), BOTH) for axis in (0, 1, 2, -1)}  # noqa: RUF012
