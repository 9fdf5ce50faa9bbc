# SPDX-License-Identifier: Apache-2.0
"""Layers that int8 has no operator for: on the grid in files, where LiteRT computes what Keras does."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from tests.helpers import networks
from tests.helpers.litert import LiteRT
from tflm_export import check

L = keras.layers
SLOPES = keras.initializers.RandomUniform(-0.1, 0.4, seed=1)


def head(x):
    return L.Dense(10)(L.GlobalAveragePooling2D()(x))


def hard_sigmoid(x):
    """As MobileNetV3 of tf_keras writes it."""
    return L.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)


def squeeze_and_excite(x, gate):
    channels = x.shape[-1]
    s = L.Reshape((1, 1, channels))(L.GlobalAveragePooling2D()(x))
    s = L.Conv2D(channels, 1)(L.Conv2D(4, 1, activation="relu")(s))
    return L.Multiply()([x, gate(s)])


def swish():
    """Behind a normalisation, in a convolution, and with a gate that is a layer."""

    def build(x):
        x = L.Activation("swish")(networks.conv_bn(x, 8, relu=False))
        x = squeeze_and_excite(x, L.Activation("sigmoid"))
        return head(L.Conv2D(8, 3, activation="swish")(x))

    return networks.functional(build)


def mobilenet_v3():
    """Rescaled inputs, hard swishes behind a normalisation, a convolution and an addition, and a hard gate."""

    def build(x):
        x = networks.conv_bn(L.Rescaling(1 / 2, offset=-0.2)(x), 8, relu=False)
        x = squeeze_and_excite(L.Multiply()([x, hard_sigmoid(x)]), hard_sigmoid)
        x = L.Add()([x, networks.conv_bn(x, 8, relu=False)])
        x = L.Conv2D(8, 3)(L.Multiply()([x, hard_sigmoid(x)]))
        return head(L.Multiply()([x, hard_sigmoid(x)]))

    return networks.functional(build)


def pre_activation():
    """Batch normalisations behind pooling, concatenation and a flat tensor."""

    def build(x):
        x = L.ReLU()(L.BatchNormalization()(L.MaxPooling2D()(networks.conv_bn(x, 8))))
        x = L.Concatenate()([x, networks.conv_bn(x, 4)])
        x = L.GlobalAveragePooling2D()(L.Activation("relu")(L.BatchNormalization()(x)))
        return L.Dense(10)(L.BatchNormalization()(x))

    return networks.functional(build)


def prelu():
    def build(x):
        x = L.PReLU(alpha_initializer=SLOPES, shared_axes=[1, 2])(networks.conv_bn(x, 8, relu=False))
        x = L.PReLU(alpha_initializer=SLOPES)(L.Conv2D(4, 3)(x))
        return L.Dense(10)(L.Flatten()(x))

    return networks.functional(build)


def inputs():
    """Augmentation, normalisation and a new size in front."""

    def build(x):
        x = L.GaussianNoise(0.1)(L.RandomZoom(0.1)(L.RandomFlip()(x)))
        x = L.Resizing(12, 12)(L.Normalization(mean=[0.3], variance=[0.5])(x))
        return head(networks.conv_bn(x, 8))

    return networks.functional(build)


OPERATORS = {
    swish: ["LOGISTIC", "MUL", "MEAN"],
    mobilenet_v3: ["HARD_SWISH", "DEPTHWISE_CONV_2D", "MUL"],
    pre_activation: ["DEPTHWISE_CONV_2D", "CONCATENATION"],
    prelu: ["PRELU"],
    inputs: ["DEPTHWISE_CONV_2D", "RESIZE_BILINEAR"],
}
SETTINGS = [(4, "requantize"), (1, "keep")]
CASES = [(network, *SETTINGS[number % 2]) for number, network in enumerate(OPERATORS)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__}, {case[1]} bits, {case[2]}")
def converted(request):
    """(network, width, float model, quantised model, .tflite file, rows)."""
    network, bits, method = request.param
    model = networks.build(network)
    rows = np.random.default_rng(0).normal(0.2, 1, (64, *model.input_shape[1:])).astype(np.float32)
    quantized = keras_rat.quantize_model(model, bits, method)
    keras_rat.calibrate(quantized, rows)
    return network, bits, model, quantized, keras_rat.convert(quantized), rows


def test_every_factor_is_on_the_grid_and_the_operators_are_those_meant(converted):
    network, bits, _, _, data, _ = converted
    assert all(row.narrow for row in check(data, bits).rows)
    found = {op["op_name"] for op in LiteRT(data).ops}
    assert found >= set(OPERATORS[network])
    assert not found & {"DEQUANTIZE", "QUANTIZE", "MINIMUM", "RELU6"}


def test_litert_computes_what_keras_does(converted):
    _, _, model, quantized, data, rows = converted
    runtime = LiteRT(data)
    scale, zero_point = runtime.output["quantization"]
    integers = runtime.run(rows).astype(int)
    expected = np.clip(np.rint(quantized(rows, training=False).numpy() / scale) + zero_point, -128, 127)
    assert integers.std() > 3
    assert np.abs(integers - expected).max() <= 4
    assert (np.abs(integers - expected) > 1).mean() < 0.05
    error = (integers - zero_point) * scale - model(rows, training=False).numpy()
    assert np.sqrt((error**2).mean()) < 8 * scale


@pytest.mark.parametrize("network", OPERATORS, ids=lambda network: network.__name__)
def test_the_float_network_is_the_same(network):
    """That calibrate measures: before anything is quantised, other layers in place of some change nothing."""
    model = networks.build(network)
    rows = np.random.default_rng(0).normal(0.2, 1, (8, *model.input_shape[1:])).astype(np.float32)
    flat = keras_rat.quantize_annotate_model(model)
    np.testing.assert_allclose(flat(rows, training=False), model(rows, training=False), atol=0.02)
