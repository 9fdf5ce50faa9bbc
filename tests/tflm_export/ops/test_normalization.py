# SPDX-License-Identifier: Apache-2.0
"""L2_NORMALIZATION and LOG_SOFTMAX."""

import numpy as np
import pytest

from tests.helpers.operators import A, activation, one_operator
from tests.helpers.runtimes import batch, random_rows
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tflm_export.fixed_point import inverse_square_root, log
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

U = activation(0.031, 121, type="UINT8")


def normalised(x) -> bytes:
    y = activation(1 / 128, 128 if x["type"] == "UINT8" else 0, x["shape"], x["type"])
    return one_operator("L2_NORMALIZATION", [x], y, 2 if x["type"] == "INT8" else 1, "L2NormOptions")


def log_softmax(scale, shape) -> bytes:
    y = activation(16 / 256, 127, shape)
    return one_operator("LOG_SOFTMAX", [activation(scale, 9, shape)], y, 2, "LogSoftmaxOptions")


class TestL2Normalization(SimulatedTests):
    models = {  # noqa: RUF012
        "image": (normalised(A), BOTH),
        "one element": (normalised(activation(0.031, 5, (1, 300, 1))), BOTH),
        "two elements": (normalised(activation(0.031, -128, (1, 200, 2))), BOTH),
        "long rows": (normalised(activation(0.031, -128, (1, 9000))), BOTH),
        "uint8": (normalised(U), LITERT),
    }


class TestLogSoftmax(SimulatedTests):
    models = {  # noqa: RUF012
        f"{scale} {shape}": (log_softmax(scale, shape), BOTH)
        for scale in (0.0031, 0.047, 0.1, 0.9, 3.7)
        for shape in ((1, 2), (1, 10), (1, 30, 4), (1, 1001), (1, 5, 1))
    }


def test_inverse_square_roots_are_those_of_the_reals():
    x = np.concatenate([np.arange(2, 5000), np.random.default_rng(0).integers(2, 1 << 31, 20_000), [(1 << 31) - 1]])
    multiplier, shift = inverse_square_root(x)
    np.testing.assert_allclose(np.ldexp(multiplier.astype(float), -31 - shift), x**-0.5, rtol=1e-4)
    assert [value.tolist() for value in inverse_square_root(np.array([0, 1]))] == [[(1 << 31) - 1] * 2, [0, 0]]


def test_logarithms_are_those_of_the_reals():
    x = np.exp(np.linspace(0, np.log(4095), 30_000))
    found = log(np.rint(x * 2.0**19).astype(np.int64), 12, 5)
    np.testing.assert_allclose(found * 2.0**-26, np.log(x), atol=2.0**-18)


@pytest.mark.parametrize("scale", [0.047, 0.4])
def test_log_softmax_is_near_the_real_one(scale):
    data = log_softmax(scale, (1, 10))
    (rows,) = batch(random_rows(parse(data), 50))
    real = rows.astype(float) * scale
    real -= np.log(np.exp(real - real.max(1, keepdims=True)).sum(1, keepdims=True)) + real.max(1, keepdims=True)
    found = (simulate(data, rows, "tflm").outputs[0].astype(float) - 127) / 16
    assert np.abs(np.maximum(real, -255 / 16) - found).max() <= 0.51 / 16 + 0.001
