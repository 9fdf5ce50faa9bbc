# SPDX-License-Identifier: Apache-2.0
"""The registrations in a real TFLM, which the user brings: bit for bit the simulator, and TFLM where not narrow."""

import numpy as np
import pytest

from tests.helpers import corpus, tflm_application
from tests.helpers.internals import dtype_of
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.tflm_export.ops import test_svdf, test_unidirectional_sequence_lstm
from tflm_export import narrow, rescale
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import grid_of
from tflm_export.ops import op_for
from tflm_export.simulator import simulate

pytestmark = pytest.mark.parametrize("target", tflm_application.TARGETS)

OWN = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "SUB", "MUL", "MEAN", "QUANTIZE",
    "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM",
)  # fmt: skip


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
    y = b.derived("SUB", [y, b.constant([6], name="subtrahend")], name="sub", scale=0.0823, activation="RELU")
    y = b.derived("MUL", [y, left], name="mul", scale=0.0529)
    y = b.quantize(b.quantize(y, type="INT16", scale=0.00031, zero_point=0, name="to_int16"), name="to_int8")
    pooled = b.mean(b.transpose_conv(y, 5))
    y = b.pool(b.pool(y, "MAX"), "AVERAGE", name="average")
    y = b.conv(y, 5, 1, stride=1, per_channel=False, bias=False, name="without_bias")
    y = b.fully_connected(b.flatten(y), 5, per_channel=True, name="wide")
    y = b.derived("SUB", [pooled, y], name="both")
    return b.build(x, b.softmax(b.fully_connected(y, 6, name="logits", activation="RELU")))


def mean(b: TFLiteBuilder, x: int, axes: list[int], keep: bool) -> int:
    """A MEAN over any axes."""
    rank = len(b.shape(x))
    gone = {axis % rank for axis in axes}
    shape = [1 if i in gone else size for i, size in enumerate(b.shape(x)) if keep or i not in gone]
    y = b.tensor("mean", shape, scale=2.0**-5, zero_point=-12)
    b.operator("MEAN", [x, b.tensor("axes", [len(axes)], type="INT32", data=axes)], [y], 2, keepDims=keep)
    return y


def without_padding(b: TFLiteBuilder, x: int) -> int:
    """A TRANSPOSE_CONV with VALID padding, a stride larger than the kernel, and no bias."""
    batch, height, width, depth = b.shape(x)
    shape = [batch, (height - 1) * 3 + 2, (width - 1) * 2 + 5, 3]
    (weights,) = b.weights(x, [3, 2, 5, depth], 0, 4 * depth, "valid", None, True, False, 0.0577)
    size, y = b.tensor("shape", [4], type="INT32", data=shape), b.tensor("valid", shape, scale=0.0577, zero_point=9)
    options = {"padding": schema.Padding.VALID, "strideW": 2, "strideH": 3}
    b.operator("TRANSPOSE_CONV", [size, weights, x], [y], 3, **options)
    return y


HALF, QUARTER = {"scale": 2.0**-4}, {"scale": 2.0**-3}  # outputs of an input's rescaling by one half and one quarter
# What makes an operator's output from activations [2, 5, 6, 4] with scale 2**-5; scales that weights do not land are
# powers of two.
ALONE = {
    "SUB": lambda b, x: b.derived("SUB", [b.constant([2, 5, 6, 4], scale=2.0**-6), x], **HALF),
    "SUB what is repeated": lambda b, x: b.derived("SUB", [x, b.constant([1, 4], scale=2.0**-6)], **HALF),
    "SUB from what is repeated": lambda b, x: b.derived("SUB", [b.constant([4], scale=2.0**-6), x], **HALF),
    "MUL": lambda b, x: b.derived("MUL", [x, b.constant([2, 5, 6, 4], scale=2.0**-5)], **HALF),
    "MUL by what is repeated": lambda b, x: b.derived("MUL", [b.constant([6, 4], scale=2.0**-4), x], **HALF),
    "MUL and clamp": lambda b, x: b.derived("MUL", [x, b.constant([4], scale=2.0**-5)], activation="RELU6", **HALF),
    "MEAN": lambda b, x: mean(b, x, [1, 2], keep=False),
    "MEAN of channels": lambda b, x: mean(b, x, [-1], keep=True),
    "QUANTIZE": lambda b, x: b.quantize(x, **QUARTER),
    "QUANTIZE to int16": lambda b, x: b.quantize(x, zero_point=0, type="INT16", **QUARTER),
    "QUANTIZE to uint8": lambda b, x: b.quantize(x, zero_point=131, type="UINT8", **QUARTER),
    "TRANSPOSE_CONV": lambda b, x: b.transpose_conv(x, 5),
    "TRANSPOSE_CONV without padding": without_padding,
}


def alone(name: str) -> bytes:
    """A model of one operator whose factors have 1 bit."""
    b = TFLiteBuilder(7)
    x = b.input([2, 5, 6, 4], scale=2.0**-5)
    model = b.build(x, ALONE[name](b, x))
    return narrow(model, 1)[0] if name.startswith("TRANSPOSE_CONV") else model


RECURRENT = {
    "SVDF": test_svdf.model(),
    "SVDF with a state of 8 bits": test_svdf.model("INT8"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": test_unidirectional_sequence_lstm.model(),
}

# Models with such operators, and what else they call.
REAL = {
    "models/tflite-micro__dtln_noise_suppression": ["AddLogistic"],
    "models/tflite-micro__keyword_scrambled": [],
    "models/tflite-micro__trained_lstm_int8": [],
    "models/mltk__fingerprint_signature_generator": [],
    "models/tinymaix__vww96_q": [],
}
SATURATED = "models/tflite-micro__keyword_scrambled"  # random inputs are all the same to it


def random_inputs(model: bytes, rows: int = 8) -> np.ndarray:
    """Inputs of so many inferences, the smallest and the largest of all integers among them."""
    tensor = parse(model).subgraphs[0].inputs[0]
    limits = np.iinfo(dtype_of(tensor))
    inputs = np.random.default_rng(1).integers(limits.min, limits.max + 1, (rows, *tensor.shape))
    inputs[0], inputs[1] = limits.min, limits.max
    return inputs.astype(limits.dtype)


def simulated(model: bytes, inputs: np.ndarray, *arithmetic) -> np.ndarray:
    """The simulator's outputs [inferences, elements] of inputs [inferences, ...]."""
    trace = simulate(model, inputs.reshape(-1, *inputs.shape[2:]), *arithmetic)
    return trace.outputs[0].reshape(len(inputs), -1)


def widths(model: bytes) -> list[int]:
    """The width that holds all factors of an operator, for each one that has a registration."""
    operators = [op for op in parse(model).subgraphs[0].operators if op.name in OWN]
    return [int(rescale.significant_bits(op_for(op).factors(op)).max()) for op in operators]


@pytest.mark.parametrize("bits", [1, "csd2", 8, 16])
def test_a_narrowed_model_equals_the_simulator(target, bits, tmp_path):
    """The shift, multiply and wide ends; factors of two signed digits are of k = 4 to the kernels."""
    tflm_application.tflm()
    model, _ = narrow(network(3), bits)
    assert max(widths(model)) <= grid_of(bits).bits
    inputs = random_inputs(model)
    outputs = tflm_application.run(model, inputs, target, tmp_path)
    assert (outputs == simulated(model, inputs, "narrow", bits)).all()


@pytest.mark.parametrize("name", ALONE)
def test_a_narrow_operator_is_not_left_to_tflm(target, name, tmp_path):
    tflm_application.tflm()
    model = alone(name)
    assert widths(model) == [1]
    inputs = random_inputs(model, 20)
    expected = simulated(model, inputs, "narrow", 1)
    assert (expected != simulated(model, inputs, "tflm")).any()
    assert (tflm_application.run(model, inputs, target, tmp_path) == expected).all()


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_narrow_operator_with_a_state(target, name, bits, tmp_path):
    tflm_application.tflm()
    model, _ = narrow(RECURRENT[name], bits)
    assert max(widths(model)) <= bits
    inputs = random_inputs(model, 20)
    expected = simulated(model, inputs, "narrow", bits)
    assert (tflm_application.run(model, inputs, target, tmp_path) == expected).all()


@pytest.mark.parametrize("name", ["network", *RECURRENT])
def test_a_stock_model_equals_tflm(target, name, tmp_path):
    tflm_application.tflm()
    if name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and tflm_application.has_cmsis_nn(target):
        pytest.skip("the LSTM of CMSIS-NN does not compute what that of TFLM does")
    model = RECURRENT.get(name) or network(4)
    assert min(widths(model)) == rescale.MAX_BITS
    inputs = random_inputs(model)
    assert (tflm_application.run(model, inputs, target, tmp_path) == simulated(model, inputs, "tflm")).all()


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
    rows = inputs.reshape(-1, 5, 5, 4)
    between = simulate(model, rows, "narrow", 1)[convolutions[0].outputs[0]]
    assert (between != simulate(model, rows, "tflm")[convolutions[0].outputs[0]]).any()
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
    y = b.flatten(b.depthwise(b.conv(x, 5, activation="RELU", zero_point=-128)))
    model, _ = narrow(b.build(x, b.fully_connected(y, 4)), 1)
    inputs = random_inputs(model)
    assert (tflm_application.run(model, inputs, target, tmp_path) == simulated(model, inputs, "tflm")).all()


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"])
def test_mlperf_tiny(target, name, tmp_path):
    tflm_application.tflm()
    model, _ = narrow(corpus.read(f"models/tiny__{name}"), 1)
    inputs = random_inputs(model, 3)
    assert (tflm_application.run(model, inputs, target, tmp_path) == simulated(model, inputs, "narrow", 1)).all()


@pytest.mark.parametrize("name", REAL)
def test_real_models(target, name, tmp_path):
    """With state that goes on from one inference to the next."""
    tflm_application.tflm()
    model, _ = narrow(corpus.read(name), 1)
    inputs = random_inputs(model, 12)
    expected = simulated(model, inputs, "narrow", 1)
    if name != SATURATED:
        assert (expected != simulated(model, inputs, "tflm")).any()
    assert (tflm_application.run(model, inputs, target, tmp_path, REAL[name]) == expected).all()
