# SPDX-License-Identifier: Apache-2.0
"""RELU, RELU6, RELU_N1_TO_1, LEAKY_RELU and PRELU as operators of their own."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tests.helpers.weighted import bounds, operator
from tflm_export import narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.flatbuffer.options import LeakyReluOptions
from tflm_export.flatbuffer.reader import FLOAT32

SHAPE = (1, 6, 6, 4)


def between(
    op,
    type="INT8",
    scales=(0.0311, 0.0271),
    zero_points=(7, -60),
    alpha=None,
    alpha_option=None,
    free=True,
    **options,
) -> bytes:
    """An activation between two layers, or between the border and one."""
    b = TFLiteBuilder()
    small = 1 / 256 if type == "INT16" else 1.0
    zeros = (0, 0, 0) if type == "INT16" else (-3, *zero_points)
    x = b.input(SHAPE, type=type, scale=0.0371 * small, zero_point=zeros[0])
    y = b.conv(x, 4, scale=scales[0] * small, zero_point=zeros[1]) if free else x
    if alpha_option is not None:
        options["alpha"] = alpha_option
    more = [] if alpha is None else [alpha(b)]
    y = b.derived(op, [y, *more], scale=scales[1] * small, zero_point=zeros[2], shape=SHAPE, **options)
    return b.build(x, b.conv(y, 3, name="last", scale=0.0529 * small, zero_point=0))


def identity(operator: peer.Operator) -> float:
    return scale(operator.inputs[0]) / scale(operator.outputs[0])


class TestRelu(NarrowedTests):
    op = "RELU"
    models = {  # noqa: RUF012
        "free": between("RELU", zero_points=(7, -128)),
        "of the input": between("RELU", free=False),
        "int16": between("RELU", "INT16"),
    }

    def factors(self, operator):
        return [identity(operator)]


class TestReluN1To1(TestRelu):
    op = "RELU_N1_TO_1"
    runtimes = ("tflite",)  # TFLM has no such operator
    models = {"free": between("RELU_N1_TO_1", version=1)}  # noqa: RUF012


class TestRelu6(TestRelu):
    op = "RELU6"
    runtimes = ("tflite",)  # TFLM ignores that the scales differ
    models = {"free": between("RELU6")}  # noqa: RUF012


@pytest.mark.parametrize("op", ["RELU", "RELU6"])
@pytest.mark.parametrize("bits", [1, 4])
def test_equal_scales_stay_equal(op, bits):
    data = between(op, scales=(0.0311, 0.0311), zero_points=(7, 7))
    narrowed, report = narrow(data, bits)
    found = operator(narrowed, op)
    assert found.inputs[0].scale == found.outputs[0].scale
    assert report.offenders == ()
    assert op in [row.op for row in report.rows]


def slope_of(operator: peer.Operator) -> float:
    table = operator.table.BuiltinOptions()
    options = peer.schema.LeakyReluOptions()
    options.Init(table.Bytes, table.Pos)
    return options.Alpha()


def leaky(alpha: float, type="INT8", free=True) -> bytes:
    return between("LEAKY_RELU", type, free=free, alpha_option=alpha)


class TestLeakyRelu(NarrowedTests):
    op = "LEAKY_RELU"
    change = {1: 0.3, 2: 0.2, 4: 0.06, 8: 0.04}  # noqa: RUF012
    models = {  # noqa: RUF012
        "a fifth": leaky(0.2),
        "negative": leaky(-0.3),
        "steep": leaky(1.7),
        "none": leaky(0.0),
        "of the input": leaky(0.2, free=False),
        "int16": leaky(0.3, "INT16"),
    }

    def factors(self, operator):
        return [identity(operator), identity(operator) * abs(slope_of(operator))]


@pytest.mark.parametrize("method", ["requantize", "keep"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [0.2, -0.3, 0.01])
def test_alpha_is_the_nearest_on_the_grid_and_its_error_is_reported(alpha, bits, method):
    data = leaky(alpha)
    narrowed, report = narrow(data, bits, method)
    old, new = (slope_of(operator(d, "LEAKY_RELU")) for d in (data, narrowed))
    assert old * new > 0
    assert abs(new / old - 1) <= (2.0**-bits if method == "requantize" else 3 * 2.0**-bits)
    (row,) = [row for row in report.rows if row.op == "LEAKY_RELU"]
    if method == "requantize":
        assert row.gain_error == pytest.approx(abs(new / old - 1))
    else:
        assert row.gain_error <= 2.0**-bits


@pytest.mark.parametrize("alpha", [0.0, 1e-30])
def test_alpha_of_no_effect_stays(alpha):
    data = leaky(alpha)
    narrowed, report = narrow(data, 2)
    assert slope_of(operator(narrowed, "LEAKY_RELU")) == pytest.approx(alpha)
    assert report.offenders == ()
    assert bounds(narrowed, "LEAKY_RELU", 2).product[1] <= 0.5 * 2**31


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 1e30])
def test_alpha_out_of_range_is_reported(alpha):
    narrowed, report = narrow(leaky(alpha), 2)
    assert [row.op for row in report.offenders] == ["LEAKY_RELU"]
    assert "its alpha is" in report.offenders[0].reason
    (found,) = [o for o in parse(narrowed).operators if o.name == "LEAKY_RELU"]
    np.testing.assert_equal(found.option(LeakyReluOptions.ALPHA, FLOAT32), np.float32(alpha))


def test_shared_options_are_reported():
    """One option table in the file for two operators."""
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.derived("LEAKY_RELU", [b.conv(x, 4)], scale=0.0271, alpha=0.2, shape=SHAPE)
    y = b.derived("LEAKY_RELU", [y], scale=0.0211, alpha=0.2, shape=SHAPE, name="second")
    data = bytearray(b.build(x, b.conv(y, 3, name="last")))
    operators = [o for o in parse(bytes(data)).operators if o.name == "LEAKY_RELU"]
    position, target = min((o.table.position(4), max(p.options_offset for p in operators)) for o in operators)
    data[position : position + 4] = (target - position).to_bytes(4, "little")
    _, report = narrow(bytes(data), 2)
    rows = [row for row in report.rows if row.op == "LEAKY_RELU"]
    assert [row.reason for row in rows] == ["its options are shared with another operator"] * 2


def alphas(b: TFLiteBuilder) -> int:
    return b.tensor("alpha", [1, 1, 4], scale=0.0113, zero_point=-5, data=[-90, 20, 60, 127])


class TestPrelu(NarrowedTests):
    op = "PRELU"
    models = {  # noqa: RUF012
        "free": between("PRELU", alpha=alphas, version=1),
        "of the input": between("PRELU", alpha=alphas, free=False, version=1),
    }

    def factors(self, operator):
        return [identity(operator), identity(operator) * scale(operator.inputs[1])]


def test_alpha_of_prelu_keeps_its_real_values():
    data = between("PRELU", alpha=alphas, version=1)
    old, new = (operator(d, "PRELU").inputs[1] for d in (data, narrow(data, 1)[0]))
    real = [(t.integers.astype(np.float64) - t.zero) * t.scale for t in (old, new)]
    assert (np.abs(real[0] - real[1]) <= 0.5 * new.scale * (1 + 2.0**-16)).all()
    assert new.scale > old.scale


def test_alpha_that_others_use_suits_each():
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    alpha = alphas(b)
    y = b.conv(x, 4, name="first")
    for i in range(2):
        y = b.conv(b.derived("PRELU", [y, alpha], shape=SHAPE, name=f"prelu{i}", version=1), 4, name=f"layer{i}")
    data = pack(unpack(b.build(x, y)))
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    users = ([o.inputs[1] for o in peer.operators(d) if o.name == "PRELU"] for d in (data, narrowed))
    for old, new in zip(*users, strict=True):
        before, after = ((t.integers.astype(np.float64) - t.zero) * t.scale for t in (old, new))
        assert (np.abs(before - after) <= 0.5 * new.scale * (1 + 2.0**-16)).all()
