# SPDX-License-Identifier: Apache-2.0
"""MUL: one factor Sa*Sb/Sy, through the output's scale, a free input's or a constant's."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds, operator
from tflm_export import narrow

SHAPE = (1, 6, 6, 3)


def inner(constant=False, type="INT8", zero_point=-9, **options) -> bytes:
    """A product whose output a layer takes."""
    b = TFLiteBuilder()
    small = 1 / 256 if type == "INT16" else 1.0
    x = b.input(SHAPE, type=type, scale=0.0371 * small, zero_point=0 if type == "INT16" else -3)
    other = b.constant([3], type=type, scale=0.0213 * small, zero_point=0) if constant else x
    product = b.derived("MUL", [x, other], scale=0.0673 * small, zero_point=zero_point, **options)
    return b.build(x, b.conv(product, 2, scale=0.0529 * small, zero_point=0))


def border(*, square=False, constant=False) -> bytes:
    """A product that is the model's output: an input moves."""
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.conv(x, 3, scale=0.0311)
    other = y if square else b.constant([3]) if constant else x
    return b.build(x, b.derived("MUL", [x if constant else y, other], scale=0.0519))


class TestMul(NarrowedTests):
    op = "MUL"
    change = {1: 0.25, 2: 0.2, 4: 0.06, 8: 0.04}  # noqa: RUF012
    models = {  # noqa: RUF012
        "square of the input": inner(),
        "constant": inner(constant=True),
        "relu6": inner(activation="RELU6", zero_point=-60),
        "int16": inner(constant=True, type="INT16", zero_point=0),
        "free input": border(),
        "free square": border(square=True),
        "constant moves": border(constant=True),
    }

    def factors(self, operator):
        a, b = operator.inputs
        return [scale(a) * scale(b) / scale(operator.outputs[0])]


@pytest.mark.parametrize("bits", [1, 4])
def test_the_output_moves_first_and_the_constant_stays(bits):
    data = inner(constant=True)
    old, new = (operator(d, "MUL") for d in (data, narrow(data, bits)[0]))
    assert old.inputs[1].data.tobytes() == new.inputs[1].data.tobytes()
    assert scale(old.inputs[1]) == scale(new.inputs[1])
    assert scale(old.outputs[0]) < scale(new.outputs[0]) < 2 * scale(old.outputs[0])


@pytest.mark.parametrize("bits", [1, 4])
def test_a_constant_is_requantised_where_nothing_else_moves(bits):
    data = border(constant=True)
    old, new = (operator(d, "MUL").inputs[1] for d in (data, narrow(data, bits)[0]))
    real = [(t.integers.astype(np.float64) - t.zero) * t.scale for t in (old, new)]
    assert (np.abs(real[0] - real[1]) <= 0.5 * new.scale * (1 + 2.0**-16)).all()
    assert old.scale < new.scale < 2 * old.scale


def test_bound_on_both_sides_is_reported():
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    data = b.build(x, [b.derived("MUL", [x, x]), b.conv(x, 2)])
    narrowed, report = narrow(data, 4)
    (row,) = report.offenders
    assert (row.op, row.narrow) == ("MUL", False)
    assert row.reason.endswith("border: tensor 0 (input), tensor 1 (mul)")
    for old, new in zip(peer.tensors(data)[:2], peer.tensors(narrowed)[:2], strict=True):
        assert old.scale == new.scale


@pytest.mark.parametrize("bits", [1, 8])
def test_worst_case_is_reached(bits):
    narrowed, report = narrow(inner(), bits)
    values = np.arange(-128, 128) + 3
    bound = bounds(narrowed, "MUL", bits)
    assert bound.accumulator == np.abs(np.multiply.outer(values, values)).max()
    (row,) = [row for row in report.rows if row.op == "MUL"]
    assert row.accumulator == bound.accumulator
    assert row.fits_int32
