# SPDX-License-Identifier: Apache-2.0
"""The factors of a model are Sx * Sw / Sy of its scales, channel by channel."""

import numpy as np
import pytest

from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import factors, narrow
from tflm_export.flatbuffer.model import parse


@pytest.fixture
def model() -> bytes:
    b = TFLiteBuilder(3)
    x = b.input([1, 6, 6, 4])
    return b.build(x, b.flatten(b.conv(x, 8, 3, name="c")))


def test_one_for_each_channel(model):
    operator = next(parse(model).operators)
    inputs, weights = operator.inputs[:2]
    expected = np.float64(inputs.scale) * weights.quantization.scale.values / np.float64(operator.outputs[0].scale)
    found = factors(model)
    assert list(found) == ["0 CONV_2D"]  # a RESHAPE rescales nothing
    assert found["0 CONV_2D"].shape == (8,)
    np.testing.assert_allclose(found["0 CONV_2D"], expected, rtol=1e-6)


def test_those_of_a_narrowed_model_are_powers_of_two(model):
    (found,) = factors(narrow(model, 1)[0]).values()
    np.testing.assert_allclose(np.log2(found), np.rint(np.log2(found)), atol=1e-5)
