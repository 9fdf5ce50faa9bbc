# SPDX-License-Identifier: Apache-2.0
"""Layers that int8 has no operator for: on the grid in files, where LiteRT computes what Keras does."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from keras_rat import configs
from keras_rat.graph import activations, channelwise
from tests.helpers import networks
from tests.helpers.litert import LiteRT
from tflm_export import check

pytestmark = pytest.mark.sweep(3)

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
    expected = runtime.as_integers(quantized(rows, training=False).numpy())
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


FUNCTIONS = {
    "x + 3": lambda x: x + 3.0,
    "3 - x": lambda x: 3.0 - x,
    "x * channels": lambda x: x * tf.constant([1.0, 2.0, -3.0]),
    "x / 2": lambda x: x / 2.0,
    "x + y": lambda x: x + L.ReLU()(x),
    "x - y": lambda x: x - L.ReLU()(x),
    "x * y": lambda x: x * L.ReLU()(x),
    "relu6": tf.nn.relu6,
    "silu": tf.nn.silu,
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "softmax": tf.nn.softmax,
    "three added": lambda x: L.Add()([x, L.ReLU()(x), x * 2.0]),
    "several ranks": lambda x: L.Multiply()([x, L.GlobalMaxPooling2D()(x)]),
    "scaled": lambda x: channelwise.ScaledAdd(0.17)([x, L.ReLU()(x)]),
    "old hard sigmoid": L.Activation("hard_sigmoid"),
    "hard swish in a layer": L.Conv2D(3, 1, activation=activations.hard_silu),
    "inverted normalisation": L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], invert=True),
    "a vector": lambda x: L.Rescaling(2.0, 1.0)(L.Flatten()(x)),
    "a sequence": lambda x: L.BatchNormalization()(L.Reshape((8, 6))(x)),
    "a volume": lambda x: L.Rescaling(2.0)(L.Reshape((2, 2, 4, 3))(x)),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_and_forms_that_become_layers(function):
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, function(x))
    rows = np.random.default_rng(0).normal(0, 2, (4, 4, 4, 3)).astype(np.float32)
    flat = keras_rat.quantize_annotate_model(model)
    np.testing.assert_allclose(flat(rows), model(rows), rtol=1e-4, atol=1 / 500)
    kinds = {type(layer.layer).__name__ for layer in flat.layers if hasattr(layer, "layer")}
    assert not kinds & {"TFOpLambda", "Rescaling", "Normalization", "BatchNormalization", "ScaledAdd"}
    assert keras_rat.quantize_model(keras.Model(x, L.Dense(2)(L.Flatten()(function(x))))).output_shape == (None, 2)


def test_layers_with_a_config_of_their_own_stay_what_they_are():
    x = keras.Input((4, 4, 3))
    own = keras_rat.quantize_annotate_layer(L.Activation("swish"), configs.OutputConfig())
    flat = keras_rat.quantize_annotate_model(keras.Model(x, L.Rescaling(2.0)(own(x))))
    assert [type(layer.layer).__name__ for layer in flat.layers[1:]] == ["Activation", "Channelwise"]


def two_swishes(bits):
    def build(x):
        branches = [L.Conv2D(4, 3, activation="swish")(x) for _ in range(2)]
        return head(L.Add(name="sum")(branches))

    return keras_rat.quantize_model(networks.build(lambda: networks.functional(build)), bits)


def test_what_no_scale_can_put_on_the_grid_has_a_rescale_of_its_own():
    quantized = two_swishes({"sum": 2, ".*": 5})
    assert keras_rat.widths(quantized)["quant_sum_rescale_1"] == 2
    rows = np.random.default_rng(0).normal(0.2, 1, (32, 8, 8, 1)).astype(np.float32)
    keras_rat.calibrate(quantized, rows)
    rows = [row for row in check(keras_rat.convert(quantized), 2).rows if "sum" in row.name]
    assert rows
    assert all(row.narrow for row in rows)


def test_networks_that_need_none_have_none():
    quantized = keras_rat.quantize_model(networks.build(networks.pre_activation))
    assert not [layer.name for layer in quantized.layers if "_rescale_" in layer.name]


def test_a_quantised_model_is_saved_and_loaded(tmp_path):
    def build(x):
        x = L.PReLU(alpha_initializer=SLOPES)(L.BatchNormalization()(L.Rescaling(2.0)(x)))
        x = L.Conv2D(4, 3, activation=activations.hard_silu)(x)
        return head(L.Multiply()([x, x]))

    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(build)))
    rows = np.random.default_rng(0).normal(0.2, 1, (32, 8, 8, 1)).astype(np.float32)
    keras_rat.calibrate(model, rows)
    model.save(tmp_path / "model.h5")
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_slopes_are_trained():
    x = keras.Input((6,))
    model = keras_rat.quantize_model(keras.Model(x, L.Dense(1)(L.PReLU(name="p")(L.Dense(4)(x)))))
    rows = np.random.default_rng(0).normal(0, 1, (32, 6)).astype(np.float32)
    keras_rat.calibrate(model, rows)
    (slopes,) = [w for w in model.trainable_weights if "alpha" in w.name]
    before = slopes.numpy()
    model.compile("adam", "mse")
    model.fit(rows, rows[:, :1], verbose=0)
    assert (slopes.numpy() != before).all()


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda x: L.LSTM(4)(L.Reshape((8, 6))(x)), r"LSTM: .*representative_dataset"),
        (L.LayerNormalization(), "LayerNormalization: .*statistics"),
        (L.Conv2D(4, 1, activation="gelu"), "Conv2D with activation gelu: "),
    ],
)
def test_refusals_say_why(layer, reason):
    x = keras.Input((4, 4, 3))
    with pytest.raises(ValueError, match=reason):
        keras_rat.quantize_model(keras.Model(x, L.Dense(2)(L.Flatten()(layer(x)))))
