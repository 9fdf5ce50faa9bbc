# SPDX-License-Identifier: Apache-2.0
"""ADD: two factors, one rounding; broadcasting, constants, a tensor added to itself, fused activations."""

import itertools
import re

import numpy as np
import pytest

from tests.helpers import exact, peer
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.helpers.weighted import WIDTHS, bounds, edited, operator, random_input
from tflm_export import METHODS, check, narrow

SHAPE = (4, 6, 6, 3)


def branches(activation="NONE") -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    a = b.conv(x, 5, name="a", scale=0.0311)
    return b.build(x, b.add(a, b.depthwise(b.conv(x, 5, 1, name="c"), name="b"), activation=activation))


def skip() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.add(b.conv(x, 3), x)
    return b.build(x, b.conv(y, 2, name="last"))


def constant(shape=(3,)) -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.add(b.conv(x, 3), b.constant(shape))
    return b.build(x, b.conv(y, 2, name="last"))


def doubled() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.conv(x, 3)
    return b.build(x, b.add(y, y))


MODELS = {
    "branches": branches(),
    "relu": branches("RELU"),
    "relu6": branches("RELU6"),
    "skip": skip(),
    "constant vector": constant(),
    "constant scalar": constant((1,)),
    "doubled": doubled(),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", MODELS)
def test_both_factors_land_on_the_grid(name, bits, method):
    narrowed, report = narrow(MODELS[name], bits, method)
    factors = operator(narrowed, "ADD").factors
    assert len(factors) == 2
    assert max(peer.off_grid(f, bits) for f in factors) < 2.0**-22
    assert report.offenders == check(narrowed, bits).offenders == ()
    if method == "keep":
        for new, old in zip(factors, operator(MODELS[name], "ADD").factors, strict=True):
            assert peer.nearest(new, bits) == peer.nearest(old, bits)


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", MODELS)
def test_runtimes_compute_the_narrow_arithmetic(name, bits, method, runtime):
    narrowed, _ = narrow(MODELS[name], bits, method)
    (add,) = [c for c in exact.compare(narrowed, random_input(SHAPE), bits, runtime) if c.operator.name == "ADD"]
    assert add.exact.std() > 10
    assert np.abs(add.runtime - add.exact).max() <= 1


@pytest.mark.parametrize("bits", WIDTHS)
def test_constants_are_requantised(bits):
    data = constant()
    narrowed, _ = narrow(data, bits)
    old, new = (operator(d, "ADD").inputs[1] for d in (data, narrowed))
    real = [(t.integers.astype(np.float64) - t.zero) * t.scale for t in (old, new)]
    assert (np.abs(real[0] - real[1]) <= 0.5 * new.scale * (1 + 2.0**-16)).all()
    assert old.scale <= new.scale < 2 * old.scale
    assert old.zero_point == new.zero_point


def test_keep_leaves_the_constant():
    data = constant()
    old, new = (operator(d, "ADD").inputs[1] for d in (data, narrow(data, 1, "keep")[0]))
    assert old.data.tobytes() == new.data.tobytes()


def with_shared_constant(zero_point, values, other) -> bytes:
    """A constant operand whose buffer another operator's tensor uses too."""
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    c = b.tensor("c", [3], scale=0.0213, zero_point=zero_point, data=values)
    d = b.tensor("d", [3], scale=0.0347, zero_point=zero_point, buffer=b.buffer(c))
    y = b.add(b.conv(x, 3), c)
    y = b.conv(y, 3, name="middle")
    z = b.tensor("z", SHAPE, scale=0.0573, zero_point=3)
    b.operator(other, [y, d], [z], 2)
    return b.build(x, z)


@pytest.mark.parametrize("other", ["MUL", "ADD"])
@pytest.mark.parametrize(("zero_point", "values"), [(5, [0, 0, 0]), (0, [0, 0, 0]), (4, [-90, 17, 60])])
def test_a_shared_constant_keeps_what_it_stands_for(zero_point, values, other):
    """To each operator. Zero integers are real zeros only where the zero point is 0."""
    data = with_shared_constant(zero_point, values, other)
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    found = 0
    for before, after in zip(peer.operators(data), peer.operators(narrowed), strict=True):
        old, new = before.inputs[1], after.inputs[1]
        if old.name in ("c", "d"):
            real = [(t.integers.astype(np.float64) - t.zero) * t.scale for t in (old, new)]
            assert (np.abs(real[0] - real[1]) <= 0.5 * new.scale * (1 + 2.0**-16)).all()
            found += 1
    assert found == 2


@pytest.mark.parametrize("zero_points", [(-128, 7), (-9, 127), (0, 0)])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_worst_case_bounds_every_pair_of_inputs(bits, zero_points):
    b = TFLiteBuilder()
    x = b.input((1, 4, 4, 2))
    a = b.conv(x, 3, name="a", scale=0.0111, zero_point=zero_points[0])
    c = b.conv(x, 3, name="c", scale=0.0977, zero_point=zero_points[1])
    narrowed, report = narrow(b.build(x, b.add(a, c)), bits)
    m, s = exact.multipliers(operator(narrowed, "ADD"), bits)
    terms = [np.arange(-128, 128) - zero for zero in zero_points]
    bound = bounds(narrowed, "ADD", bits)
    np.testing.assert_array_equal(bound.accumulator, [np.abs(t).max() for t in terms])
    common = max(*s.tolist(), 0)
    aligned = [t * int(mi) << (common - int(si)) for t, mi, si in zip(terms, m, s, strict=True)]
    total = np.abs(np.add.outer(*aligned) + (1 << common >> 1)).max()
    assert total <= bound.product.max() <= 2 * total
    (row,) = [row for row in report.rows if row.op == "ADD"]
    assert row.fits_int32 == (bound.product.max() < 2**31)


def uint8(name):
    def change(model, graph, tensors):
        tensors[name].type = schema.TensorType.UINT8

    return change


def without_scale(model, graph, tensors):
    tensors["a"].quantization = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (uint8("a"), r"tensor \d+ \(a\) is UINT8, tensor \d+ \(b\) is INT8.*; one type is needed"),
        (uint8("b"), r"tensor \d+ \(b\) is UINT8.*; one type is needed"),
        (uint8("add"), r"tensor \d+ \(add\) is UINT8; one type is needed"),
    ],
)
def test_other_types_are_reported_by_tensor(change, message):
    data = edited(branches(), change)
    narrowed, report = narrow(data, 2)
    (row,) = [row for row in report.rows if row.op == "ADD"]
    assert re.search(message, row.reason)
    for name in ("a", "b", "add"):
        old, new = (next(t for t in peer.tensors(d) if t.name == name) for d in (data, narrowed))
        assert old.scale == new.scale
    assert {row.op for row in check(data, 2).rows} >= {"ADD"}


def test_a_float_addition_is_no_rescale():
    _, report = narrow(edited(branches(), without_scale), 2)
    assert "ADD" not in [row.op for row in report.rows]


def test_scales_bound_on_both_sides_are_reported():
    b = TFLiteBuilder()
    x, z = b.input(SHAPE), b.input(SHAPE, name="z", scale=0.0213)
    y = b.add(x, z)
    data = b.build([x, z], [y, b.conv(x, 2)])
    narrowed, report = narrow(data, 4)
    (row,) = report.offenders
    assert (row.op, row.narrow) == ("ADD", False)
    assert "bound on both sides" in row.reason
    for old, new in itertools.islice(zip(peer.tensors(data), peer.tensors(narrowed), strict=True), 3):
        assert old.scale == new.scale
