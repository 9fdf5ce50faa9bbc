# SPDX-License-Identifier: Apache-2.0
"""int16 activations with int8 weights and int64 biases, and uint8 with per-tensor weights, through whole networks."""

import re

import numpy as np
import pytest

from tests.helpers import corpus, peer, runtimes
from tests.helpers.internals import worst_case
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.helpers.weighted import edited
from tflm_export import ModelError, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

SMALL = 1 / 256  # of int16 steps, beside int8 ones


def network(type: str, **layer) -> bytes:
    """Convolutions, a residual addition, a pool, a mean and a dense layer."""
    b = TFLiteBuilder()
    step = SMALL if type == "INT16" else 1.0
    zero = {"INT16": 0, "UINT8": 128}[type]
    x = b.input([1, 6, 6, 3], type=type, scale=0.0371 * step, zero_point=zero)
    y = b.conv(x, 4, name="stem", scale=0.0311 * step, zero_point=zero, **layer)
    z = b.depthwise(y, name="depthwise", scale=0.0473 * step, zero_point=zero, **layer)
    y = b.add(y, z, scale=0.0517 * step, zero_point=zero)
    y = b.mean(b.pool(y), scale=0.137 * step, zero_point=zero)
    per_channel = {"per_channel": False} | layer
    y = b.fully_connected(y, 5, name="hidden", scale=0.0809 * step, zero_point=zero, **per_channel)
    return b.build(x, b.fully_connected(y, 3, name="logits", scale=0.0157 * step, zero_point=zero, **per_channel))


class TestInt16(NarrowedTests):
    """The network's addition speaks for it; the other operators are checked below."""

    op = "ADD"
    change = {1: 0.12, 2: 0.08, 4: 0.04, 8: 0.03}  # noqa: RUF012
    models = {"channels": network("INT16"), "tensor": network("INT16", per_channel=False)}  # noqa: RUF012

    def factors(self, operator):
        return [scale(t) / scale(operator.outputs[0]) for t in operator.inputs]

    @pytest.mark.parametrize("bits", [1, 4])
    def test_every_operator_is_narrowed(self, name, bits):
        narrowed, report = narrow(self.models[name], bits)
        assert len(report.rows) == 6
        for operator in peer.operators(narrowed):
            if operator.name in peer.WEIGHTED:
                x, w, _ = operator.inputs
                factors = scale(x) * w.scale.astype(np.float64) / scale(operator.outputs[0])
                assert peer.off_grids(factors, bits).max() < 2.0**-22

    @pytest.mark.parametrize("bits", [1, 4])
    def test_biases_keep_their_real_values(self, name, bits):
        stock = self.models[name]
        for old, new in zip(peer.operators(stock), peer.operators(narrow(stock, bits)[0]), strict=True):
            if old.name in peer.WEIGHTED:
                (x, w, bias), before = new.inputs, old.inputs[2]
                assert bias.type == before.type
                real = [t.integers * t.scale.astype(np.float64) for t in (before, bias)]
                assert (np.abs(real[0] - real[1]) <= 0.5 * bias.scale + np.abs(real[0]) * 2.0**-20).all()
                np.testing.assert_allclose(bias.scale, scale(x) * w.scale.astype(np.float64), rtol=2.0**-22)

    def test_worst_case_is_that_of_the_type(self, name):
        for operator in parse(narrow(self.models[name], 4)[0]).operators:
            if operator.name == "CONV_2D":
                x, w, bias = operator.inputs
                rows = w.data.reshape(4, -1).astype(np.int64) - w.zero_point
                limits = np.iinfo(x.type.lower())
                ends = [np.where(rows > 0, *(pair - np.int64(x.zero_point))) for pair in
                        (np.array([limits.max, limits.min]), np.array([limits.min, limits.max]))]  # fmt: skip
                expected = np.max([np.abs((rows * end).sum(1) + bias.data) for end in ends], 0)
                np.testing.assert_array_equal(worst_case(operator, 4).accumulator, expected)


class TestUInt8(TestInt16):
    models = {"tensor": network("UINT8", per_channel=False)}  # noqa: RUF012
    change = {1: 0.3, 2: 0.2, 4: 0.12, 8: 0.06}  # noqa: RUF012
    spread = 5
    runtimes = ("tflite",)

    def test_weights_keep_their_zero_point(self, name):
        stock = self.models[name]
        for old, new in zip(peer.tensors(stock), peer.tensors(narrow(stock, 1)[0]), strict=True):
            assert old.zero_point.tolist() == new.zero_point.tolist()


def two_scales(model, graph, tensors):
    quantization = tensors["stem/weights"].quantization
    quantization.scale, quantization.zeroPoint = [*quantization.scale] * 4, [131] * 4


def int32_bias(model, graph, tensors):
    tensors["stem/bias"].type = schema.TensorType.INT32
    buffer = model.buffers[tensors["stem/bias"].buffer]
    buffer.data = np.frombuffer(bytes(buffer.data), np.int64).astype(np.int32).view(np.uint8)


def shifted(model, graph, tensors):
    tensors["input"].quantization.zeroPoint = [3]


@pytest.mark.parametrize(
    ("type", "change", "message"),
    [
        ("UINT8", two_scales, r"\(stem/weights\) has 4 scales and zero point 131; 1 and 0 to 255 are needed"),
        ("INT16", int32_bias, r"\(stem/bias\) is INT32; INT64 is needed"),
        ("INT16", shifted, r"\(input\) has zero point 3; INT16 activations are symmetric"),
    ],
)
def test_what_stands_in_the_way_is_named(type, change, message):
    layer = {"per_channel": False} if type == "UINT8" else {}
    _, report = narrow(edited(network(type, **layer), change), 2)
    assert re.search(message, next(row.reason for row in report.offenders if row.label.endswith("(stem)")))


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("name", [n for n in corpus.GOLDEN if n.startswith(("conv", "leaky", "transpose"))])
def test_published_int16_outputs_are_met_by_narrowed_files(name, runtime):
    """At 8 bits; weights of 8 bits that are rounded anew move int16 outputs by more than a few steps."""
    data = corpus.read(f"models/tflite-micro__{name}")
    inputs, golden = corpus.published(name, data)
    narrowed, report = narrow(data, 8)
    assert report.offenders == ()
    assert not runtimes.differences(narrowed, [inputs], runtime)
    (output,) = simulate(narrowed, inputs, runtime).outputs
    error = np.sqrt(np.square(output.astype(np.float64) - golden).mean())
    assert error < 0.01 * golden.std()


@pytest.mark.parametrize("name", ["add0", "sub0"])
def test_published_int16_sums_at_the_border_cannot_move(name):
    with pytest.raises(ModelError, match="bound on both sides"):
        narrow(corpus.read(f"models/tflite-micro__{name}"), 8)
