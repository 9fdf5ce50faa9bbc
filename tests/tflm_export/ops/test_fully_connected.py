# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED: per-tensor weights are left alone where the output scale can move instead."""

import re

import numpy as np
import pytest

from tests.helpers import exact, peer, runtimes
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder, pack, schema, unpack
from tests.helpers.weighted import WeightedTests, bounds, edited, random_input
from tflm_export import ModelError, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import unsupported


class TestFullyConnected(WeightedTests):
    op = "FULLY_CONNECTED"
    input_shape = (12, 37)
    whole_input_shape = (6, 11)
    weight_steps = 0.5
    messages = {"run-time weights": r"\(layer/weights\) is quantised per channel"}  # noqa: RUF012

    def layer(self, b, x, **options):
        return b.fully_connected(x, 9, name="layer", **options)

    def whole(self, b, x, **options):
        return b.fully_connected(x, 6, name="layer", **options)


def chain(layers: int, seed=0) -> bytes:
    b = TFLiteBuilder(seed)
    x = y = b.input([8, 20])
    for i in range(layers):
        y = b.fully_connected(y, 20, name=f"dense{i}", scale=0.05 + 0.013 * i)
    return b.build(x, y)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_chain_moves_activation_scales_and_requantises_the_last_layer_alone(bits):
    data = chain(4)
    narrowed, report = narrow(data, bits)
    assert not report.offenders
    pairs = list(zip(peer.operators(data), peer.operators(narrowed), strict=True))
    for _, new in pairs:
        assert peer.off_grid(new.factors[0], bits) < 2.0**-22
    for old, new in pairs[:-1]:
        assert old.inputs[1].data.tobytes() == new.inputs[1].data.tobytes()
        assert old.inputs[1].scale == new.inputs[1].scale
        assert 1 < new.outputs[0].scale[0] / old.outputs[0].scale[0] < 1 + 2.0 ** (1 - bits)
    old, new = pairs[-1]
    assert old.outputs[0].scale == new.outputs[0].scale
    assert 1 < new.inputs[1].scale[0] / old.inputs[1].scale[0] < 1 + 2.0 ** (1 - bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_biases_follow_the_input_scale(bits):
    """Where the layer before has moved, the bias keeps its real value although the weights stay."""
    data = chain(4)
    narrowed, _ = narrow(data, bits)
    for old, new in zip(peer.operators(data), peer.operators(narrowed), strict=True):
        before, after = (o.inputs[2].integers * o.inputs[2].scale.astype(np.float64) for o in (old, new))
        step = float(new.inputs[2].scale[0])
        assert (np.abs(after - before) <= 0.5 * step + np.abs(before) * 2.0**-21).all()
        product = new.inputs[0].scale.astype(np.float64) * new.inputs[1].scale
        np.testing.assert_allclose(new.inputs[2].scale, product, rtol=2.0**-23)


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_chain_on_the_runtimes(bits, runtime):
    narrowed, _ = narrow(chain(4), bits)
    for comparison in exact.compare(narrowed, random_input((8, 20)), bits, runtime):
        assert comparison.exact.std() > 10
        assert np.abs(comparison.runtime - comparison.exact).max() <= 1


def computed_weights(type="INT8", bias=False, weight_zero=0) -> bytes:
    """Attention's product of two projections of the input, as converters write it, and a layer that takes it."""
    b = TFLiteBuilder()
    zero, small = {"INT16": (0, 1 / 256), "UINT8": (121, 1.0)}.get(type, (-3, 1.0))
    x = b.input([1, 6, 1, 12], type=type, scale=0.0371 * small, zero_point=zero)
    per_channel = type != "UINT8"
    layer = b.conv(x, 8, 1, name="queries", scale=0.0491 * small, zero_point=zero, per_channel=per_channel)
    queries = b.reshape(layer, [6, 8])
    keys = b.input([6, 8], type="UINT8" if type == "UINT8" else "INT8", scale=0.021, zero_point=weight_zero, name="w")
    inputs = [queries, keys]
    if bias:
        kind = "INT64" if type == "INT16" else "INT32"
        spread = 20000 * (256 if type == "INT16" else 1)
        values = b.random.integers(-spread, spread, 6)
        inputs.append(b.tensor("bias", [6], type=kind, scale=b.scale(queries) * b.scale(keys), data=values))
    y = b.derived(
        "FULLY_CONNECTED",
        inputs,
        shape=[6, 6],
        name="scores",
        scale=0.151 * small,
        zero_point=zero,
        version=4,
    )
    last = b.conv(
        b.reshape(y, [1, 6, 6, 1]), 5, name="last", scale=0.21 * small, zero_point=zero, per_channel=per_channel
    )
    return b.build([x, keys], last)


def border(type) -> bytes:
    """Both operands and the product at the model's border, but for one layer."""
    b = TFLiteBuilder()
    zero, small = (0, 1 / 256) if type == "INT16" else (-3, 1.0)
    x = b.input([1, 6, 1, 12], type=type, scale=0.0371 * small, zero_point=zero)
    queries = b.reshape(b.conv(x, 8, 1, name="queries", scale=0.0491 * small, zero_point=zero), [6, 8])
    keys = b.input([6, 8], scale=0.021, zero_point=0, name="w")
    options = {"shape": [6, 6], "scale": 0.151 * small, "zero_point": zero, "version": 4}
    return b.build([x, keys], b.derived("FULLY_CONNECTED", [queries, keys], **options))


class TestComputedWeights(NarrowedTests):
    op = "FULLY_CONNECTED"
    change = {1: 0.4, 2: 0.25, 4: 0.15, 8: 0.08}  # noqa: RUF012
    models = {  # noqa: RUF012
        "plain": computed_weights(),
        "bias": computed_weights(bias=True),
        "zero point": computed_weights(weight_zero=9),
        "int16": computed_weights("INT16", bias=True),
        "input moves": border("INT8"),
        "int16 input moves": border("INT16"),
    }

    def factors(self, operator):
        x, w = operator.inputs[:2]
        return [scale(x) * scale(w) / scale(operator.outputs[0])]


@pytest.mark.parametrize("bits", [1, 4])
def test_a_bias_follows_the_product_of_two_activations(bits):
    data = computed_weights(bias=True)
    narrowed, _ = narrow(data, bits)
    old, new = ({t.name: t for t in peer.tensors(d)} for d in (data, narrowed))
    product = new["queries"].scale.astype(np.float64) * new["w"].scale
    np.testing.assert_allclose(new["bias"].scale, product, rtol=2.0**-22)
    before, after = (t["bias"].integers * t["bias"].scale.astype(np.float64) for t in (old, new))
    assert (np.abs(after - before) <= 0.5 * product + np.abs(before) * 2.0**-21).all()


def test_worst_case_of_computed_weights():
    data = computed_weights(bias=True)
    offset = np.abs(next(t for t in peer.tensors(data) if t.name == "bias").integers.astype(np.int64)).max()
    assert bounds(data, "FULLY_CONNECTED", 8).accumulator == 8 * 130 * 128 + offset


def test_computed_uint8_weights_equal_litert():
    data = computed_weights("UINT8", weight_zero=120)
    narrowed, report = narrow(data, 2)
    assert not report.offenders
    for file in (data, narrowed):
        assert not runtimes.differences(file, runtimes.random_rows(parse(file), 2), "tflite")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": {"buffer": 0}}, r"\(bias\) must be INT32, constant"),
        ({"bias": {"type": schema.TensorType.INT64, "shape": [3]}}, r"\(bias\) must be INT32, constant"),
        ({"w": {"type": schema.TensorType.UINT8}}, "UINT8 weights computed at run time"),
        ({"w": {"shape": [6, 8, 1]}}, r"\(w\) has shape \[6, 8, 1\]"),
    ],
)
def test_what_keeps_computed_weights_from_being_narrowed(changes, message):
    def change(model, graph, tensors):
        for name, fields in changes.items():
            for field, value in fields.items():
                setattr(tensors[name], field, value)

    _, report = narrow(edited(computed_weights(bias=True), change), 2)
    (row,) = report.offenders
    assert row.op == "FULLY_CONNECTED"
    assert re.search(message, row.reason)


@pytest.mark.parametrize(
    ("changed", "narrowing", "lowering"),
    [
        (
            {"type": schema.TensorType.UINT8},
            r"is UINT8; INT8 or INT4 with scales",
            r"INT8 inputs, UINT8 weights and INT8 outputs",
        ),
        (
            {"quantization": None},
            r"is INT8 without scales; INT8 or INT4 with scales",
            r"weights is INT8 without scales",
        ),
    ],
)
def test_weights_that_no_kernel_takes_are_named(changed, narrowing, lowering):
    b = TFLiteBuilder()
    x = b.input([1, 8])
    model = unpack(b.build(x, b.fully_connected(x, 4)))
    (weights,) = [t for t in model.subgraphs[0].tensors if b"weights" in t.name]
    for name, value in changed.items():
        setattr(weights, name, value)
    with pytest.raises(ModelError, match=narrowing):
        narrow(pack(model), 1)
    assert re.search(lowering, *unsupported(pack(model)))
