# SPDX-License-Identifier: Apache-2.0
"""ARG_MAX and ARG_MIN, CAST and SHAPE: outputs that are no activations."""

from tests.helpers.operators import A16, A, activation, indices, one_operator
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests


def where(op, axis, shape, x=A, type="INT32") -> bytes:
    table = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[op]
    code = {"INT32": 2, "INT64": 4}[type]
    return one_operator(op, [x, indices([axis])], {"shape": list(shape), "type": type}, 2, table, outputType=code)


def cast(x, type) -> bytes:
    return one_operator("CAST", [x], {"shape": x["shape"], "type": type}, 1, "CastOptions")


U = activation(0.031, 121, type="UINT8")
INT32 = {"shape": [1, 40], "type": "INT32"}


class TestArgExtremum(SimulatedTests):
    models = {  # noqa: RUF012
        "channels": (where("ARG_MAX", -1, (1, 6, 6)), BOTH),
        "smallest height": (where("ARG_MIN", 1, (1, 6, 4)), BOTH),
        "rows": (where("ARG_MIN", 0, (4,), activation(0.03, 2, (5, 4))), BOTH),
        "uint8 to int64": (where("ARG_MAX", 3, (1, 6, 6), U, "INT64"), LITERT),
    }


class TestCast(SimulatedTests):
    models = {  # noqa: RUF012
        "int8 to int32": (cast(A, "INT32"), BOTH),
        "int16 to float": (cast(A16, "FLOAT32"), BOTH),
        "int32 to int8": (cast(INT32, "INT8"), BOTH),
        "int32 to int16": (cast(INT32, "INT16"), BOTH),
        "int8 to uint8": (cast(A, "UINT8"), LITERT),
        "int8 to int64": (cast(A, "INT64"), LITERT),
    }


class TestShape(SimulatedTests):
    models = {  # noqa: RUF012
        "of an image": (one_operator("SHAPE", [A], {"shape": [4], "type": "INT32"}, 1, "ShapeOptions", outType=2), BOTH)
    }
