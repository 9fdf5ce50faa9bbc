# SPDX-License-Identifier: Apache-2.0
"""BATCH_MATMUL: as MUL, over sums of products."""

import numpy as np
import pytest

from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds
from tflm_export import narrow


def attention(type="INT8", constant=False, adj_x=False, adj_y=False) -> bytes:
    """A product of the input and itself, or a constant, and a layer that takes it."""
    b = TFLiteBuilder()
    zero, small = (0, 1 / 256) if type == "INT16" else (-3, 1.0)
    x = b.input([1, 6, 6], type=type, scale=0.0371 * small, zero_point=zero)
    other = b.constant([1, 6, 6], type=type, scale=0.0213 * small, zero_point=zero) if constant else x
    y = b.derived("BATCH_MATMUL", [x, other], scale=0.377 * small, zero_point=zero, adjX=adj_x, adjY=adj_y)
    return b.build(x, b.conv(b.reshape(y, [1, 6, 6, 1]), 3, scale=0.351 * small, zero_point=zero))


def border() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 6, 6])
    return b.build(x, b.derived("BATCH_MATMUL", [x, b.constant([1, 6, 5])], shape=[1, 6, 5], scale=0.211))


class TestBatchMatMul(NarrowedTests):
    op = "BATCH_MATMUL"
    change = {1: 0.2, 2: 0.15, 4: 0.1, 8: 0.05}  # noqa: RUF012
    models = {  # noqa: RUF012
        "constant moves": border(),
        "output moves": attention(),
        "constant": attention(constant=True, adj_y=True),
        "transposed": attention(adj_x=True),
        "int16": attention("INT16"),
    }

    def factors(self, operator):
        a, b = operator.inputs
        return [scale(a) * scale(b) / scale(operator.outputs[0])]


@pytest.mark.parametrize("adj_x", [False, True])
def test_worst_case_sums_over_the_inner_dimension(adj_x):
    b = TFLiteBuilder()
    x = b.input([1, 5, 6] if adj_x else [1, 6, 5], zero_point=-128)
    c = b.constant([1, 5, 4], zero_point=-128)
    data = b.build(x, b.derived("BATCH_MATMUL", [x, c], shape=[1, 6, 4], scale=2.1, adjX=adj_x, adjY=False))
    assert bounds(narrow(data, 2)[0], "BATCH_MATMUL", 2).accumulator == 5 * 255**2
    assert np.isfinite(bounds(data, "BATCH_MATMUL", 31).product).all()
