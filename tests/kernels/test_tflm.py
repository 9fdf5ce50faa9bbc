# SPDX-License-Identifier: Apache-2.0
"""The registrations in a real TFLM, which the user brings: bit for bit the simulator, and TFLM where not narrow."""

import numpy as np
import pytest

from tests.helpers import corpus, tflm_application
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow, rescale
from tflm_export.flatbuffer.model import parse
from tflm_export.ops import op_for
from tflm_export.simulator import simulate

pytestmark = pytest.mark.parametrize("target", tflm_application.TARGETS)

OWN = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD")


def network(seed: int) -> bytes:
    """Every shape that the registrations tell apart, and stock operators between them that have no rescale."""
    b = TFLiteBuilder(seed)
    x = b.input([1, 9, 7, 3])
    y = b.conv(x, 6, 3, stride=2, name="strided", activation="RELU6", zero_point=-11)
    left = b.depthwise(y, 2, name="two_outputs_an_input")
    left = b.depthwise(left, kernel=3, name="usual", activation="RELU", zero_point=-128)
    left = b.conv(left, 6, 1, name="pointwise")
    y = b.add(left, y, name="add", activation="RELU")
    y = b.add(b.constant([6]), y, name="add_constant", scale=0.0613)
    y = b.pool(b.pool(y, "MAX"), "AVERAGE", name="average")
    y = b.conv(y, 5, 1, stride=1, per_channel=False, bias=False, name="without_bias")
    y = b.fully_connected(b.flatten(y), 7, per_channel=True, name="wide")
    return b.build(x, b.softmax(b.fully_connected(y, 6, name="logits", activation="RELU")))


def random_inputs(model: bytes, rows: int = 8) -> np.ndarray:
    shape = parse(model).subgraphs[0].inputs[0].shape
    inputs = np.random.default_rng(1).integers(-128, 128, (rows, *shape[1:])).astype(np.int8)
    inputs[0], inputs[1] = -128, 127
    return inputs


def widths(model: bytes) -> list[int]:
    """The width that holds all factors of an operator, for each one that has a registration."""
    operators = [op for op in parse(model).subgraphs[0].operators if op.name in OWN]
    return [int(rescale.significant_bits(op_for(op).factors(op)).max()) for op in operators]


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_a_narrowed_model_equals_the_simulator(target, bits, tmp_path):
    """The shift, multiply and wide ends."""
    tflm_application.tflm()
    model, _ = narrow(network(3), bits)
    assert max(widths(model)) <= bits
    inputs = random_inputs(model)
    expected = simulate(model, inputs, "narrow", bits)
    if bits == 1:  # not by chance: the stock kernels round otherwise
        stock = simulate(model, inputs, "tflm")
        assert any((expected[t] != stock[t]).any() for op in parse(model).subgraphs[0].operators for t in op.outputs)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == expected.outputs[0]).all()


def test_a_stock_model_equals_tflm(target, tmp_path):
    tflm_application.tflm()
    model = network(4)
    assert min(widths(model)) == rescale.MAX_BITS
    inputs = random_inputs(model)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == simulate(model, inputs, "tflm").outputs[0]).all()


def test_operators_fall_back_one_by_one(target, tmp_path):
    """A narrow convolution, then a stock one: of the same registration."""
    tflm_application.tflm()
    b = TFLiteBuilder(5)
    x = b.input([1, 5, 5, 4], scale=0.25)
    first = b.conv(x, 4, 3, name="narrow", scale=0.5, weight_scale=[2.0**-s for s in (5, 6, 7, 8)])
    second = b.conv(first, 3, 1, name="stock", per_channel=False)
    model = b.build(x, second)
    assert widths(model) == [1, rescale.MAX_BITS]
    inputs = random_inputs(model, 40)
    convolutions = parse(model).subgraphs[0].operators
    between = simulate(model, inputs, "narrow", 1)[convolutions[0].outputs[0]]
    assert (between != simulate(model, inputs, "tflm")[convolutions[0].outputs[0]]).any()
    _, w, bias = convolutions[1].inputs
    y = convolutions[1].outputs[0]
    accumulators = (between.astype(np.int64) - convolutions[0].outputs[0].zero_point) @ w.data[:, 0, 0].astype(int).T
    factors = rescale.quantize_multiplier(op_for(convolutions[1]).factors(convolutions[1]))
    integers = rescale.multiply_by_quantized_multiplier_double(accumulators + bias.data, factors)
    expected = np.clip(integers + y.zero_point, -128, 127)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == expected.reshape(outputs.shape)).all()


def test_weights_of_4_bits_are_left_to_tflm(target, tmp_path):
    """Two of them stand in each byte that the narrow kernels would read."""
    tflm_application.tflm()
    b = TFLiteBuilder(6, int4=True)
    x = b.input([1, 6, 6, 3])
    y = b.depthwise(b.conv(x, 5, activation="RELU", zero_point=-128))
    model, _ = narrow(b.build(x, b.fully_connected(b.mean(y), 4)), 1)
    inputs = random_inputs(model)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == simulate(model, inputs, "tflm").outputs[0]).all()


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"])
def test_mlperf_tiny(target, name, tmp_path):
    tflm_application.tflm()
    model, _ = narrow(corpus.read(f"models/tiny__{name}"), 1)
    inputs = random_inputs(model, 3)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == simulate(model, inputs, "narrow", 1).outputs[0].reshape(outputs.shape)).all()
