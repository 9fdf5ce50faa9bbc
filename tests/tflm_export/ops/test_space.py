# SPDX-License-Identifier: Apache-2.0
"""SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND."""

from tests.helpers.operators import activation, indices, one_operator
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import unsupported


def depth(op, shape, result, side, **more) -> bytes:
    table = {"SPACE_TO_DEPTH": "SpaceToDepthOptions", "DEPTH_TO_SPACE": "DepthToSpaceOptions"}[op]
    x, y = (activation(0.031, 7, s, **more) for s in (shape, result))
    version = 2 if op == "SPACE_TO_DEPTH" else 1
    return one_operator(op, [x], y, version, table, blockSize=side)


def batch(op, shape, result, sides, border, **more) -> bytes:
    table = {"SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions", "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions"}[op]
    x, y = (activation(0.031, -7, s, **more) for s in (shape, result))
    return one_operator(op, [x, indices(sides), indices(border)], y, 2, table)


class TestDepth(SimulatedTests):
    models = {  # noqa: RUF012
        "to depth": (depth("SPACE_TO_DEPTH", (1, 6, 4, 3), (1, 3, 2, 12), 2), BOTH),
        "to space": (depth("DEPTH_TO_SPACE", (1, 2, 3, 18), (1, 6, 9, 2), 3), BOTH),
        "uint8": (depth("DEPTH_TO_SPACE", (1, 2, 3, 8), (1, 4, 6, 2), 2, type="UINT8"), LITERT),
    }


class TestBatch(SimulatedTests):
    models = {  # noqa: RUF012
        "to batch": (batch("SPACE_TO_BATCH_ND", (1, 6, 4, 3), (6, 2, 2, 3), [3, 2], [[0, 0], [0, 0]]), BOTH),
        "to batch, padded": (batch("SPACE_TO_BATCH_ND", (2, 5, 3, 3), (12, 2, 2, 3), [3, 2], [[1, 0], [0, 1]]), LITERT),
        "to batch in one dimension": (batch("SPACE_TO_BATCH_ND", (2, 5, 3), (4, 3, 3), [2], [[0, 1]]), LITERT),
        "to space": (batch("BATCH_TO_SPACE_ND", (6, 2, 2, 3), (1, 6, 4, 3), [3, 2], [[0, 0], [0, 0]]), BOTH),
        "to space, cut": (batch("BATCH_TO_SPACE_ND", (12, 2, 2, 3), (2, 5, 3, 3), [3, 2], [[1, 0], [0, 1]]), BOTH),
        "to space in one dimension": (batch("BATCH_TO_SPACE_ND", (4, 3, 3), (2, 5, 3), [2], [[0, 1]]), BOTH),
    }


def test_real_numbers_are_not_simulated():
    data = batch("SPACE_TO_BATCH_ND", (1, 6, 4, 3), (6, 2, 2, 3), [3, 2], [[0, 0], [0, 0]], type="FLOAT32")
    assert [problem.split(": ")[1] for problem in unsupported(parse(data))] == ["FLOAT32 is not simulated"]
