# SPDX-License-Identifier: Apache-2.0
"""Weights of 4 bits: every layer that a runtime has a kernel for, packed numbers of elements even and odd."""

from fractions import Fraction

import numpy as np
import pytest

from tests.helpers import exact, native, peer, runtimes
from tests.helpers.internals import simulate
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.helpers.weighted import WIDTHS, edited, operator, random_input
from tflm_export import METHODS, ModelError, check, narrow
from tflm_export.explain import explain
from tflm_export.flatbuffer.model import parse
from tflm_export.rounding import error_feedback
from tflm_export.simulator import unsupported
from tflm_export.verify import random_inputs, verify

SMALL = 1 / 256  # of int16 steps, beside int8 ones


def model(build, shape, type="INT8", seed=0) -> bytes:
    """A model of `build(builder, input, **quantisation of its output)`."""
    b = TFLiteBuilder(seed, int4=True)
    step, zero = (SMALL, 0) if type == "INT16" else (1.0, -3)
    x = b.input(shape, type=type, scale=0.0371 * step, zero_point=zero)
    return b.build(x, build(b, x, name="layer", scale=0.0571 * step, zero_point=zero))


def conv(b, x, channels=5, **options):
    return b.conv(x, channels, **options)


def depthwise(b, x, multiplier=1, **options):
    return b.depthwise(x, multiplier, **options)


def dense(b, x, channels=9, **options):
    return b.fully_connected(x, channels, **options)


def with_(build, **more):
    return lambda b, x, **options: build(b, x, **more | options)


class Int4Tests(NarrowedTests):
    """Of 4 bits a scale may shrink as well."""

    change = {1: 0.25, 2: 0.2, 4: 0.12, 8: 0.04}  # noqa: RUF012

    def factors(self, operator):
        x, w = operator.inputs[:2]
        return (scale(x) * w.scale.astype(np.float64) / scale(operator.outputs[0])).tolist()

    @pytest.mark.parametrize("bits", WIDTHS)
    def test_scales_never_shrink(self, name, bits):
        stock = self.models[name]
        for old, new in zip(peer.tensors(stock), peer.tensors(narrow(stock, bits)[0]), strict=True):
            if old.type == "INT8":
                assert (new.scale >= old.scale * (1 - 2.0**-22)).all()
            elif old.type == "INT4":  # a step of the grid either way
                assert (abs(np.log2(new.scale / old.scale)) <= np.log2(1 + 2.0 ** (1 - bits)) + 2.0**-22).all()

    @pytest.mark.parametrize("bits", WIDTHS)
    def test_only_bytes_of_scales_weights_and_biases_change(self, name, bits):
        stock = self.models[name]
        narrowed, _ = narrow(stock, bits)
        spans = {i for t in peer.tensors(stock) for i in (*t.scale_span, *t.data_span)}
        assert len(narrowed) == len(stock)
        assert all(a == b or i in spans for i, (a, b) in enumerate(zip(stock, narrowed, strict=True)))
        (w,) = [t for t in peer.tensors(narrowed) if t.type == "INT4"]
        assert np.abs(w.integers).max() <= 7

    @pytest.mark.sweep(5)
    def test_the_c_source_equals_the_simulator(self, name):
        if parse(self.models[name]).subgraphs[0].inputs[0].type != "INT8":
            pytest.skip("int16 has no kernels in C")
        for bits in (1, 4):
            assert_equals_simulator(narrow(self.models[name], bits)[0], bits, "narrow")

    test_the_c_source_equals_the_simulator = native.requires_gcc(test_the_c_source_equals_the_simulator)


class TestConv2D(Int4Tests):
    op = "CONV_2D"
    models = {  # noqa: RUF012
        "channels, odd": model(conv, [1, 7, 7, 3]),
        "channels, even": model(with_(conv, activation="RELU"), [2, 5, 6, 4]),
        "tensor": model(with_(conv, per_channel=False), [1, 6, 6, 3]),
        "pointwise": model(with_(conv, kernel=1, channels=7), [1, 5, 5, 9]),
        "strided": model(with_(conv, stride=2, padding="VALID"), [1, 9, 9, 3]),
    }


class TestDepthwiseConv2D(Int4Tests):
    op = "DEPTHWISE_CONV_2D"
    models = {  # noqa: RUF012
        "channels, odd": model(depthwise, [1, 7, 7, 5]),
        "two outputs an input": model(with_(depthwise, multiplier=2), [1, 6, 6, 3]),
        "tensor": model(with_(depthwise, per_channel=False, activation="RELU6"), [1, 6, 6, 4]),
        "without bias": model(with_(depthwise, bias=False), [1, 6, 6, 3]),
    }


class TestFullyConnected(Int4Tests):
    op = "FULLY_CONNECTED"
    models = {"odd": model(dense, [3, 37]), "even": model(with_(dense, bias=False), [3, 24])}  # noqa: RUF012


class TestFullyConnectedPerChannel(Int4Tests):
    """For which TFLM has no kernel."""

    op = "FULLY_CONNECTED"
    models = {"channels": model(with_(dense, per_channel=True), [3, 37])}  # noqa: RUF012
    runtimes = ("tflite",)


class TestConv2DOfInt16(Int4Tests):
    """Likewise."""

    op = "CONV_2D"
    models = {"channels": model(conv, [1, 7, 7, 3], "INT16")}  # noqa: RUF012
    runtimes = ("tflite",)


class TestFullyConnectedOfInt16(Int4Tests):
    """Likewise."""

    op = "FULLY_CONNECTED"
    models = {"tensor": model(dense, [3, 37], "INT16")}  # noqa: RUF012
    runtimes = ("tflite",)


def network(seed=0) -> bytes:
    """Every kind of layer that both runtimes take, with a residual addition, between int8 operators."""
    b = TFLiteBuilder(seed, int4=True)
    x = b.input([1, 8, 8, 3])
    stem = b.conv(x, 5, name="stem", scale=0.0311, zero_point=-128, activation="RELU")
    y = b.depthwise(stem, name="depthwise", scale=0.0433, zero_point=-20, activation="RELU6")
    y = b.conv(y, 5, 1, name="pointwise", scale=0.0529)
    y = b.mean(b.pool(b.add(y, stem, activation="RELU", zero_point=-128)))
    y = b.fully_connected(y, 7, name="hidden", activation="RELU", zero_point=-128)
    return b.build(x, b.softmax(b.fully_connected(y, 5, name="logits")))


@pytest.mark.sweep(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_a_network_is_verified(bits, method):
    """On all three runtimes: XNNPACK's outputs, and every layer of the others."""
    stock = network()
    narrowed, report = narrow(stock, bits, method)
    assert not report.offenders
    assert check(narrowed, bits).offenders == ()
    assert "pointwise" in explain(narrowed)
    found = verify(stock, narrowed, random_inputs(parse(stock), 4))
    assert not found.failures
    assert not found.problem
    assert set(found.outputs) == {"LiteRT", "LiteRT reference", "TFLM"}
    for layer in found.layers:
        assert set(layer.differences.values()) == {0}


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("bits", WIDTHS)
def test_layers_compute_the_exact_arithmetic(bits, runtime):
    """By python's integers, from the packed bytes on."""
    narrowed, _ = narrow(network(bits), bits)
    for comparison in exact.compare(narrowed, random_input((1, 8, 8, 3)), bits, runtime):
        if comparison.operator.name in peer.WEIGHTED:
            assert comparison.exact.std() > 3
            assert np.abs(comparison.runtime - comparison.exact).max() <= 1


@pytest.mark.sweep(5)
@native.requires_gcc
@pytest.mark.parametrize("bits", WIDTHS)
def test_the_c_source_of_a_network_equals_the_simulator(bits):
    assert_equals_simulator(narrow(network(), bits)[0], bits, "narrow")


@native.requires_gcc
def test_the_c_source_of_a_stock_network_equals_the_simulator():
    assert_equals_simulator(network(), 31, "tflm")


def with_minimum(data: bytes) -> bytes:
    """The model with -8 for every -7 of its weights."""

    def change(model, graph, tensors):
        for tensor in graph.tensors:
            if tensor.name.endswith(b"weights"):
                old = np.array(model.buffers[tensor.buffer].data, np.uint8)
                low, high = (np.where(half == 9, 8, half) for half in (old & 15, old >> 4))
                model.buffers[tensor.buffer].data = (low | high << 4).astype(np.uint8)

    return edited(data, change)


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_smallest_integer_stays_in_use_where_a_file_has_it(bits):
    stock = with_minimum(network())
    narrowed, _ = narrow(stock, bits)
    assert min(w.integers.min() for w in peer.tensors(narrowed) if w.type == "INT4") == -8
    for file in (stock, narrowed):
        for runtime in runtimes.RUNTIMES:
            assert not runtimes.differences(file, runtimes.random_rows(parse(file), 2), runtime)


def neighbours(factor: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """The grid points below and above a factor that is on none."""
    multiplier, shift = peer.nearest(factor, bits)
    step = Fraction(2) ** -shift
    if multiplier * step < factor:
        return multiplier * step, (multiplier + 1) * step
    below = multiplier - 1 if multiplier > 1 << (bits - 1) else multiplier - Fraction(1, 2)
    return below * step, multiplier * step


def real_change(stock: bytes, narrowed: bytes) -> np.ndarray:
    """Sums of squares of what the real weights of CONV_2D's channels changed by, in squares of old steps."""
    old, new = (operator(data, "CONV_2D").inputs[1] for data in (stock, narrowed))
    real = [t.integers.reshape(len(t.integers), -1) * t.scale.astype(np.float64)[:, None] for t in (old, new)]
    return np.square((real[1] - real[0]) / old.scale.astype(np.float64)[:, None]).sum(1)


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_step_that_changes_a_channel_less_is_taken(bits):
    """Of the next larger and the next smaller scale on the grid, with every weight at its nearest integer."""
    stock = model(with_(conv, kernel=1, channels=40), [1, 5, 5, 9])
    narrowed, _ = narrow(stock, bits)
    w = operator(stock, "CONV_2D").inputs[1]
    weights = w.integers.reshape(40, -1)
    expected, ups = [], 0
    for row, factor in zip(weights, operator(stock, "CONV_2D").factors, strict=True):
        growths = [float(g / factor) for g in neighbours(factor, bits)]
        changes = [np.square(np.clip(np.rint(row / g), -7, 7) * g - row).sum() for g in growths]
        expected.append(min(changes))
        ups += changes[1] <= changes[0]
    assert 0 < ups < 40
    np.testing.assert_allclose(real_change(stock, narrowed), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_with_data_the_step_that_changes_outputs_less_is_taken(bits):
    """By the covariance of inputs that go together, where every single weight's error would say something else."""
    stock = model(with_(conv, kernel=1, channels=40), [1, 5, 5, 9])
    random = np.random.default_rng(0)
    common = random.normal(0, 40, (60, 5, 5, 1))
    rows = np.clip(np.rint(common + random.normal(0, 10, (60, 5, 5, 9)) + 20), -128, 127).astype(np.int8)
    narrowed, _ = narrow(stock, bits, calibration={"input": rows})
    values = rows.reshape(-1, 9).astype(np.float64)
    hessian = np.cov(values, rowvar=False, bias=True)
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(9)
    old, new = (operator(data, "CONV_2D") for data in (stock, narrowed))
    plain = []
    for row, before, after in zip(old.inputs[1].integers.reshape(40, 9), old.factors, new.factors, strict=True):
        growths = np.array([float(g / before) for g in neighbours(before, bits)])
        target = row / growths[:, None]
        errors = [error_feedback(t[None], hessian, (-7, 7))[0] * g - row for t, g in zip(target, growths, strict=True)]
        changes = [error @ hessian @ error for error in errors]
        assert float(after / before) == pytest.approx(growths[np.argmin(changes)], rel=1e-6)
        nearest = [np.square(np.clip(np.rint(row / g), -7, 7) * g - row).sum() for g in growths]
        plain.append(np.argmin(nearest) == np.argmin(changes))
    assert not all(plain)


@pytest.mark.parametrize("bits", [1, 4])
def test_shared_weights_get_copies_of_their_own(bits):
    """Two layers of one tensor with output scales that need different ones."""
    b = TFLiteBuilder(int4=True)
    x = b.input([1, 6, 6, 3])
    first = b.conv(x, 5, name="first", scale=0.0529)
    second = b.conv(x, 5, name="second", scale=0.0417)
    b.graph.operators[1].inputs[1:] = b.graph.operators[0].inputs[1:]
    data = b.build(x, [first, second])
    narrowed, report = narrow(data, bits)
    assert not report.offenders
    weights = [operator.inputs[1] for operator in peer.operators(narrowed)]
    assert [w.type for w in weights] == ["INT4", "INT4"]
    assert weights[0].buffer != weights[1].buffer
    assert {w.data.size for w in weights} == {(5 * 9 * 3 + 1) // 2}
    for runtime in runtimes.RUNTIMES:
        assert not runtimes.differences(narrowed, runtimes.random_rows(parse(narrowed), 2), runtime)


REFUSED = {
    "depthwise of int16": (model(depthwise, [1, 6, 6, 3], "INT16"), "INT4 beside INT16; INT8 with scales"),
    "transposed": (
        model(lambda b, x, **options: b.transpose_conv(x, 5, **options), [1, 4, 4, 3]),
        "INT4 beside INT8; INT8 with scales",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_runtime_computes_is_refused(name):
    data, message = REFUSED[name]
    with pytest.raises(ModelError, match=rf"\(layer\): weight tensor \d+ \(layer/weights\) is {message} is needed"):
        narrow(data, 1)
    assert "INT4 weights" in unsupported(data)[0]
    with pytest.raises(ModelError, match="INT4 weights"):
        simulate(data, random_inputs(parse(data), 1), "tflm")


def test_types_of_other_widths_are_named():
    def change(model, graph, tensors):
        tensors["layer/weights"].type = schema.TensorType.INT2

    data = edited(model(conv, [1, 7, 7, 3]), change)
    with pytest.raises(ModelError, match=r"\(layer/weights\) is INT2; INT8 or INT4 with scales is needed"):
        narrow(data, 1)
