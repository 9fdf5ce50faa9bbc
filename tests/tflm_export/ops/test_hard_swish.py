# SPDX-License-Identifier: Apache-2.0
"""HARD_SWISH: its output's scale lands one factor on the grid, its input's the other."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds, operator
from tflm_export import check, narrow

SHAPE = (1, 6, 6, 4)


def network(input_scale=0.0411, type="INT8", **conv) -> bytes:
    b = TFLiteBuilder()
    zeros = (125, 135, 108) if type == "UINT8" else (-3, 7, -20)
    x = b.input(SHAPE, type=type, zero_point=zeros[0])
    y = b.conv(x, 4, scale=input_scale, zero_point=zeros[1], **conv)
    y = b.derived("HARD_SWISH", [y], scale=0.0311, zero_point=zeros[2], version=1)
    return b.build(x, b.conv(y, 3, name="last", zero_point=zeros[1], **conv))


class TestHardSwish(NarrowedTests):
    op = "HARD_SWISH"
    change = {1: 0.3, 2: 0.15, 4: 0.06, 8: 0.04}  # noqa: RUF012
    models = {"int8": network(), "coarse input": network(0.0871)}  # noqa: RUF012

    def factors(self, operator):
        x, y = scale(operator.inputs[0]), scale(operator.outputs[0])
        return [x / 128 / y, x / 128 * 32768 / 3]


class TestUInt8(TestHardSwish):
    models = {"uint8": network(type="UINT8", per_channel=False)}  # noqa: RUF012
    runtimes = ("tflite",)


@pytest.mark.parametrize("bits", [1, 8])
def test_an_input_that_cannot_move_is_reported_and_the_output_still_moves(bits):
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.derived("HARD_SWISH", [x], scale=0.0311, zero_point=-20, version=1)
    data = b.build(x, b.conv(y, 3, name="last"))
    narrowed, report = narrow(data, bits)
    (row,) = report.offenders
    assert row.op == "HARD_SWISH"
    assert row.reason.endswith("border: tensor 0 (input)")
    found = operator(narrowed, "HARD_SWISH")
    factors = np.array([scale(found.inputs[0]) / scale(found.outputs[0])])
    assert peer.off_grids(factors, bits).max() < 2.0**-22
    assert [row.op for row in check(narrowed, bits).offenders] == ["HARD_SWISH"]


def test_an_output_scale_beyond_the_kernels_shift_is_reported():
    _, report = narrow(network(2.5), 4)
    (row,) = report.offenders
    assert "too small for the kernel's right shift" in row.reason


def test_worst_case():
    np.testing.assert_array_equal(bounds(narrow(network(), 4)[0], "HARD_SWISH", 4).accumulator, [128 * 135] * 2)
