# SPDX-License-Identifier: Apache-2.0
"""The tests that every operator with weights inherits."""

import re

import numpy as np
import pytest

from tests.helpers import exact, peer
from tests.helpers.internals import worst_case
from tests.helpers.tflite_builder import TFLiteBuilder, pack, schema, unpack
from tflm_export import METHODS, ModelError, check, narrow
from tflm_export.flatbuffer.model import parse

WIDTHS = (1, 2, 4, 8)
FLOAT32 = 2.0**-24


def operator(data: bytes, name: str) -> peer.Operator:
    (found,) = [o for o in peer.operators(data) if o.name == name]
    return found


def random_input(shape, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def edited(data: bytes, change) -> bytes:
    """A model after `change(model, graph, tensors by name)`."""
    model = unpack(data)
    graph = model.subgraphs[0]
    change(model, graph, {(t.name.decode() if isinstance(t.name, bytes) else t.name): t for t in graph.tensors})
    return pack(model)


def bounds(data: bytes, name: str, bits: int):
    """WorstCase of the only operator of a type."""
    (found,) = [o for o in parse(data).operators if o.name == name]
    return worst_case(found, bits)


def on_weights(**fields):
    return lambda model, graph, tensors: [setattr(tensors["layer/weights"], k, v) for k, v in fields.items()]


def on_bias(**fields):
    return lambda model, graph, tensors: [setattr(tensors["layer/bias"], k, v) for k, v in fields.items()]


def run_time_weights(model, graph, tensors):
    tensors["layer/weights"].buffer = 0
    graph.inputs = [*graph.inputs, graph.tensors.index(tensors["layer/weights"])]


def run_time_bias(model, graph, tensors):
    tensors["layer/bias"].buffer = 0


def weight_zero_point(model, graph, tensors):
    quantization = tensors["layer/weights"].quantization
    quantization.zeroPoint = [0] * (len(quantization.zeroPoint) - 1) + [1]


def uint8_input(model, graph, tensors):
    tensors["input"].type = schema.TensorType.UINT8


def uint8_output(model, graph, tensors):
    tensors["layer"].type = schema.TensorType.UINT8


def unscaled_output(model, graph, tensors):
    tensors["layer"].quantization = None


def one_scale_too_few(model, graph, tensors):
    quantization = tensors["layer/weights"].quantization
    quantization.scale, quantization.zeroPoint = quantization.scale[1:], quantization.zeroPoint[1:]


def one_bias_scale(model, graph, tensors):
    quantization = tensors["layer/bias"].quantization
    quantization.scale, quantization.zeroPoint = quantization.scale[:1], quantization.zeroPoint[:1]


OBSTACLES = {
    "uint8 input": (uint8_input, r"tensor \d+ \(input\) is UINT8"),
    "uint8 output": (uint8_output, r"tensor \d+ \(layer\) is UINT8"),
    "output without scale": (unscaled_output, r"tensor \d+ \(layer\) has no scale"),
    "uint8 weights": (on_weights(type=schema.TensorType.UINT8), r"\(layer/weights\) is UINT8"),
    "run-time weights": (run_time_weights, r"\(layer/weights\) is computed at run time"),
    "weights without scales": (on_weights(quantization=None), r"\(layer/weights\) is INT8 without scales"),
    "weight zero point": (weight_zero_point, r"\(layer/weights\) has a zero point other than 0"),
    "missing weight scale": (one_scale_too_few, r"\(layer/weights\) has \d+ scales for \d+ output channels"),
    "run-time bias": (run_time_bias, r"\(layer/bias\) is INT32 computed at run time"),
    "float bias": (on_bias(type=schema.TensorType.FLOAT32), r"\(layer/bias\) is FLOAT32"),
    "too few bias scales": (one_bias_scale, r"\(layer/bias\) has 1 scales, its weights have \d+"),
}


class WeightedTests:
    """For a subclass that says which operator it is and how to add it to a model."""

    op = ""
    input_shape: tuple[int, ...] = ()
    whole_input_shape: tuple[int, ...] = ()  # one row of which a `whole` layer gives one position
    channel_axis = 0
    weight_steps = 1.5  # how far a weight may move
    messages: dict[str, str] = {}  # noqa: RUF012  # where the operator has a reason of its own for an obstacle

    def layer(self, b: TFLiteBuilder, x: int, **options) -> int:
        """Adds the operator, named "layer"."""
        raise NotImplementedError

    def whole(self, b: TFLiteBuilder, x: int, **options) -> int:
        """Adds one whose outputs see all of the input (of their channel)."""
        raise NotImplementedError

    def model(self, seed=0, **options) -> bytes:
        b = TFLiteBuilder(seed)
        x = b.input(self.input_shape)
        return b.build(x, self.layer(b, x, **options))

    def beside(self, change) -> bytes:
        """A changed layer and, so that there is something to narrow, one of another type that is as it should be."""
        b = TFLiteBuilder()
        x = b.input(self.input_shape)
        self.layer(b, x, per_channel=True)
        z = b.input([1, 6], name="other")
        y = b.fully_connected(z, 3) if self.op != "FULLY_CONNECTED" else b.conv(b.reshape(z, [1, 1, 1, 6]), 3, 1)
        graph = b.graph
        first = next(i for i, t in enumerate(graph.tensors) if t.name == "layer")
        # The changed layer comes last.
        graph.operators.append(graph.operators.pop(0))
        return edited(b.build([x, z], [first, y]), change)

    @pytest.mark.parametrize("per_channel", [True, False])
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bits", WIDTHS)
    def test_factors_land_on_the_grid(self, bits, method, per_channel):
        stock = self.model(per_channel=per_channel)
        narrowed, report = narrow(stock, bits, method)
        before, after = operator(stock, self.op).factors, operator(narrowed, self.op).factors
        assert max(peer.off_grid(f, bits) for f in after) < 4 * FLOAT32
        for old, new in zip(before, after, strict=True):
            if method == "keep":
                assert peer.nearest(new, bits) == peer.nearest(old, bits)
            else:
                assert 1 - 4 * FLOAT32 <= new / old <= (1 + 2.0 ** (1 - bits)) * (1 + 4 * FLOAT32)
        (row,) = report.rows
        assert (row.op, row.factors, row.narrow, row.reason) == (self.op, len(before), True, "")
        assert row.bits_before == 31
        assert row.bits_after <= bits
        assert check(narrowed, bits).offenders == ()

    @pytest.mark.parametrize("per_channel", [True, False])
    @pytest.mark.parametrize("bits", WIDTHS)
    def test_requantised_numbers_stay_near_their_real_values(self, bits, per_channel):
        """Biases within half a step. A weight may leave its nearest integer for the sake of its kernel's sum."""
        stock = self.model(per_channel=per_channel)
        narrowed, report = narrow(stock, bits)
        (x, old_w, old_bias), (_, w, bias) = (operator(data, self.op).inputs for data in (stock, narrowed))
        step = bias.scale.astype(np.float64)
        moved = np.abs(bias.integers * step - old_bias.integers * old_bias.scale.astype(np.float64))
        assert (moved <= step * (0.5 + np.abs(bias.integers) * 4 * FLOAT32)).all()
        np.testing.assert_allclose(bias.scale, x.scale.astype(np.float64) * w.scale, rtol=2 * FLOAT32)
        real, old_real = (
            np.moveaxis(t.integers, self.channel_axis, -1) * t.scale.astype(np.float64) for t in (w, old_w)
        )
        error = np.abs(real - old_real)
        assert error.any()
        assert (error < self.weight_steps * w.scale * (1 + 127 * 4 * FLOAT32)).all()
        others = tuple(range(error.ndim - 1))
        assert (np.sqrt(np.square(error).mean(others)) < 0.5 * w.scale).all()
        worst = np.sqrt(np.square(error).sum(others) / np.square(old_real).sum(others)).max()
        assert report.rows[0].weight_error == pytest.approx(worst, rel=1e-6)

    @pytest.mark.parametrize("bits", WIDTHS)
    def test_keep_changes_scales_alone(self, bits):
        stock = self.model()
        narrowed, report = narrow(stock, bits, "keep")
        old, new = operator(stock, self.op), operator(narrowed, self.op)
        for before, after in zip(old.inputs, new.inputs, strict=True):
            assert before.data.tobytes() == after.data.tobytes()
        gain = max(float(abs(f / g - 1)) for f, g in zip(new.factors, old.factors, strict=True))
        assert report.rows[0].gain_error == pytest.approx(gain, abs=4 * FLOAT32)
        x, w, bias = new.inputs
        np.testing.assert_allclose(bias.scale, x.scale.astype(np.float64) * w.scale, rtol=2 * FLOAT32)

    @pytest.mark.parametrize("runtime", exact.RUNTIMES)
    @pytest.mark.parametrize(
        "options",
        [
            {"per_channel": True},
            {"per_channel": False},
            {"per_channel": True, "bias": False},
            {"per_channel": True, "activation": "RELU", "zero_point": -60},
            {"per_channel": False, "activation": "RELU6", "zero_point": -90},
        ],
        ids=["channels", "tensor", "no bias", "relu", "relu6"],
    )
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("bits", WIDTHS)
    def test_runtimes_compute_the_narrow_arithmetic(self, bits, method, options, runtime):
        if runtime == "LiteRT" and self.op == "CONV_2D" and not options.get("bias", True):
            pytest.skip("LiteRT's CONV_2D insists on a bias")
        narrowed, _ = narrow(self.model(seed=bits, **options), bits, method)
        (comparison,) = exact.compare(narrowed, random_input(self.input_shape), bits, runtime)
        assert comparison.exact.std() > 10
        assert np.abs(comparison.runtime - comparison.exact).max() <= 1
        assert (comparison.runtime != comparison.exact).mean() < 0.05

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("bits", [1, 4, 31])
    def test_worst_case_is_reached_and_never_exceeded(self, bits, bias):
        b = TFLiteBuilder(bits)
        x = b.input(self.whole_input_shape)
        data, report = narrow(b.build(x, self.whole(b, x, per_channel=True, bias=bias)), bits)
        found = operator(data, self.op)
        m, s = exact.multipliers(found, bits)
        weights = self.rows_of(found.inputs[1].integers)
        extremes = np.where(weights > 0, 127, -128)
        inputs = [self.spread(e).reshape(self.whole_input_shape) for e in (extremes, -1 - extremes)]
        inputs += [random_input(self.whole_input_shape, seed) for seed in range(20)]
        sums = np.array([exact.accumulators(found, {x: row}).reshape(-1, len(m)).T for row in inputs])
        # [inputs, channels, positions]; with one input per channel the extremes of channel c are its own.
        bound = bounds(data, self.op, bits)
        np.testing.assert_array_equal(np.abs(sums).max((0, 2)), bound.accumulator)
        half = np.where(s > 0, 2.0 ** (s - 1), 0)
        products = np.abs(sums).max((0, 2)) * m.astype(np.float64) + half
        np.testing.assert_array_equal(products, bound.product)
        assert report.rows[0].accumulator == np.abs(sums).max()
        assert report.rows[0].fits_int32 == (products.max() < 2**31)

    @pytest.mark.parametrize("obstacle", OBSTACLES)
    def test_what_cannot_be_narrowed_is_reported_and_left_alone(self, obstacle):
        change, message = OBSTACLES[obstacle]
        message = self.messages.get(obstacle, message)
        data = self.beside(change)
        narrowed, report = narrow(data, 2)
        rows = [row for row in report.rows if row.op == self.op]
        assert rows
        for row in rows:
            assert re.search(message, row.reason)
            assert row.label.endswith("(layer)")
        assert [row.op for row in report.rows if not row.reason] == [
            "CONV_2D" if self.op == "FULLY_CONNECTED" else "FULLY_CONNECTED"
        ]
        for before, after in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
            if before.name.startswith("layer"):
                assert before.data.tobytes() == after.data.tobytes()
                assert before.scale.tobytes() == after.scale.tobytes()

    @pytest.mark.parametrize("obstacle", OBSTACLES)
    def test_check_reads_what_it_can(self, obstacle):
        """Whatever stands in the way of narrowing, the check gives a row for it and no exception."""
        change, _ = OBSTACLES[obstacle]
        report = check(self.beside(change), 2)
        rows = [row for row in report.rows if row.op == self.op]
        assert rows
        assert not any(row.narrow for row in rows)

    def test_alone_it_is_an_error_that_names_the_tensor(self):
        data = edited(self.model(), weight_zero_point)
        with pytest.raises(ModelError, match=r"no rescale .*\(layer\): weight tensor \d+ \(layer/weights\) has a zero"):
            narrow(data, 2)

    def test_channels_without_a_factor_stay(self):
        """A scale of 0, and a factor that the runtimes flush to 0."""

        def flush(model, graph, tensors):
            scale = np.array(tensors["layer/weights"].quantization.scale)
            scale[0], scale[1] = 0, 1e-12
            tensors["layer/weights"].quantization.scale = scale
            bias_scale = np.array(tensors["layer/bias"].quantization.scale)
            bias_scale[:2] = scale[:2] * graph.tensors[0].quantization.scale[0]
            tensors["layer/bias"].quantization.scale = bias_scale

        data = edited(self.model(per_channel=True), flush)
        narrowed, _ = narrow(data, 1)
        old, new = operator(data, self.op), operator(narrowed, self.op)
        for before, after in zip(old.inputs[1:], new.inputs[1:], strict=True):
            np.testing.assert_array_equal(before.scale[:2], after.scale[:2])
            axis = self.channel_axis if before is old.inputs[1] else 0
            kept, moved = (np.take(before.integers, r, axis) == np.take(after.integers, r, axis) for r in ([0, 1], [2]))
            assert kept.all()
            assert not moved.all()

    def rows_of(self, weights: np.ndarray) -> np.ndarray:
        """Weights as the inputs they meet: [channels, *a row of the input without batch]."""
        return weights

    def spread(self, extremes: np.ndarray) -> np.ndarray:
        """The worst inputs of all channels as one batch."""
        return extremes.astype(np.int8)
