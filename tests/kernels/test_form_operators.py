# SPDX-License-Identifier: Apache-2.0
"""Operators in types and shapes that only the general kernels take, from a file to C, against TensorFlow Lite Micro."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.operators import activation, indices, one_operator
from tests.helpers.programs import Compiled
from tests.helpers.runtimes import random_rows, tflm_layers
from tflm_export.flatbuffer.model import parse

pytestmark = native.requires_gcc

SHAPE = (2, 3, 4, 5)
A16, B16 = (activation(scale, 0, SHAPE, "INT16") for scale in (0.00031, 0.00047))
INT32 = {"shape": list(SHAPE), "type": "INT32"}
# Name, operands and output.
OPERATORS = {
    "sum of int16": ("ADD", [A16, B16], activation(0.0009, 0, SHAPE, "INT16")),
    "difference of int16": ("SUB", [A16, B16], activation(0.0009, 0, SHAPE, "INT16")),
    "difference": ("SUB", [activation(0.03, -7, SHAPE), activation(0.05, 12, SHAPE)], activation(0.04, 3, SHAPE)),
    "sum along axes between": (
        "ADD",
        [activation(0.03, -7, SHAPE), activation(0.05, 12, (2, 1, 4, 1))],
        activation(0.04, 3, SHAPE),
    ),
    "product of int16": ("MUL", [A16, B16], activation(0.002, 0, SHAPE, "INT16")),
    "product along axes between": (
        "MUL",
        [activation(0.03, -7, (1, 3, 1, 5)), activation(0.05, 12, SHAPE)],
        activation(0.2, 3, SHAPE),
    ),
    "slopes": ("PRELU", [activation(0.03, -7, SHAPE), activation(0.01, 5, (1, 1, 5))], activation(0.02, 3, SHAPE)),
    "plain sum": ("ADD", [INT32, INT32], INT32),
    "larger": ("MAXIMUM", [activation(0.03, 0, SHAPE), activation(0.03, 0, (1, 1, 1, 5))], activation(0.03, 0, SHAPE)),
    "logistic of int16": ("LOGISTIC", [A16], activation(2.0**-15, 0, SHAPE, "INT16")),
    "tanh of int16": ("TANH", [A16], activation(2.0**-15, 0, SHAPE, "INT16")),
    "narrower": ("QUANTIZE", [A16], activation(0.06, 4, SHAPE)),
    "wider": ("QUANTIZE", [activation(0.03, -7, SHAPE)], {**INT32, "scale": 1e-6, "zero_point": 0}),
    "from real numbers": ("QUANTIZE", [{**INT32, "type": "FLOAT32"}], activation(0.06, 4, SHAPE)),
    "to real numbers": ("DEQUANTIZE", [A16], {**INT32, "type": "FLOAT32"}),
    "transposed": (
        "TRANSPOSE",
        [activation(0.03, -7, SHAPE), indices([2, 0, 3, 1])],
        activation(0.03, -7, (4, 2, 5, 3)),
    ),
    "cast": ("CAST", [activation(0.03, -7, SHAPE)], {**INT32, "type": "FLOAT32"}),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_stock_arithmetic_is_that_of_tflm(operator):
    name, operands, output = OPERATORS[operator]
    options = {"table": "SubOptions", "potScaleInt16": False} if "difference of" in operator else {}
    options = {"table": "AddOptions", "potScaleInt16": False} if "sum of int16" in operator else options
    data = one_operator(name, operands, output, **options)
    rows = random_rows(parse(data), 4)
    program = translate(data, "model", 31, "tflm")
    assert any(step.is_general for step in program.steps)
    context = Compiled(program).start()
    (expected,) = tflm_layers(data, rows).values()
    for row, wanted in zip(rows, expected.reshape(4, -1), strict=True):
        np.testing.assert_array_equal(context.invoke(*row)[0].reshape(-1), wanted)
