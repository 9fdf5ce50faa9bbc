# SPDX-License-Identifier: Apache-2.0
"""Models of one operator through the back end: their C gives what LiteRT's reference kernels and TFLM give."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.operators import A16, A, activation, indices, one_operator
from tests.helpers.programs import Compiled
from tests.helpers.runtimes import LAYERS, random_rows
from tests.helpers.simulated import BOTH, LITERT, TFLM
from tflm_export.flatbuffer.model import parse

pytestmark = native.requires_gcc

U = activation(0.031, 121, type="UINT8")
REDUCER = "ReducerOptions"


def reduced(op, x, axes, shape, type=None) -> bytes:
    scales = {"MEAN": 0.047, "SUM": 0.9}
    changed = {"scale": scales[op], "zero_point": 0 if x["type"] == "INT16" else 12} if op in scales else {}
    return one_operator(op, [x, indices(axes)], {**x, **changed, "shape": shape}, 2, REDUCER, keepDims=False)


def where(op, x, axis, shape, type="INT32") -> bytes:
    table = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[op]
    code = {"INT32": 2, "INT64": 4}[type]
    return one_operator(op, [x, indices([axis])], {"shape": shape, "type": type}, 2, table, outputType=code)


MODELS = {
    "mean of height and channels": (reduced("MEAN", A, [1, 3], [1, 6]), BOTH),
    "mean of uint8": (reduced("MEAN", U, [1, 2], [1, 4]), LITERT),
    "mean of int16": (reduced("MEAN", A16, [0, 2], [6, 4]), BOTH),
    "sum of all": (reduced("SUM", A, [0, 1, 2, 3], []), TFLM),
    "sum of uint8": (reduced("SUM", U, [1, 3], [1, 6]), LITERT),
    "largest": (reduced("REDUCE_MAX", A, [0, 2], [6, 4]), BOTH),
    "smallest": (reduced("REDUCE_MIN", A16, [1], [1, 6, 4]), LITERT),
    "where the largest is": (where("ARG_MAX", A, -1, [1, 6, 6]), BOTH),
    "where the smallest is": (where("ARG_MIN", U, 1, [1, 6, 4], "INT64"), LITERT),
    "where the smallest number is": (where("ARG_MIN", {"shape": [1, 6, 4], "type": "FLOAT32"}, 1, [1, 4]), BOTH),
    "parts": (
        one_operator("GATHER", [A, indices([[5, 1], [0, 0]])], activation(0.031, -7, (1, 2, 2, 6, 4)), 2,
                     "GatherOptions", axis=1, batchDims=0),
        BOTH,
    ),
    "elements": (one_operator("GATHER_ND", [A, indices([[0, 1], [0, 3]])], activation(0.031, -7, (2, 6, 4)), 2), BOTH),
    "a block": (
        one_operator("DYNAMIC_UPDATE_SLICE", [A, activation(0.031, -7, (1, 2, 3, 4)), indices([0, 3, 5, 0])], A), BOTH,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_runtimes_give_the_same(name):
    data, runtimes = MODELS[name]
    rows = random_rows(parse(data), 5)
    for runtime in runtimes:
        context = Compiled(translate(data, "model", 31, runtime)).start()
        (found,) = LAYERS[runtime](data, rows).values()
        ours = np.concatenate([np.atleast_1d(context.invoke(*row)[0]) for row in rows])
        np.testing.assert_array_equal(ours.reshape(found.shape), found, runtime)
        assert len(np.unique(found)) > 1
