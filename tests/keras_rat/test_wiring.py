# SPDX-License-Identifier: Apache-2.0
"""keras_rat.wiring: the ranges a layer's rescale factor is made of, and the batch-norm gain between them."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from keras_rat import rescale_layers, wiring
from tests.helpers import networks

pytestmark = pytest.mark.sweep(3)

L = keras.layers


def links(network):
    """{layer: (owner of the input range, owner of the output range, batch normalisation)} without the prefix."""
    model = keras_rat.quantize_model(networks.build(network))

    def short(name):
        return name.removeprefix("quant_")

    found = {}
    for layer in rescale_layers(model):
        link = wiring.links(layer)
        batch_norm = link.batch_norm and link.batch_norm.name
        found[short(layer.name)] = short(link.input.owner), short(link.output.owner), batch_norm
    return found


def residual():
    x = inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(x)
    x = shortcut = L.ReLU(name="stem_relu")(L.BatchNormalization(name="stem_bn")(x))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = L.Activation("relu6", name="depthwise_relu")(L.BatchNormalization(name="depthwise_bn")(x))
    x = L.Conv2D(4, 1, use_bias=False, name="pointwise")(x)
    x = L.BatchNormalization(name="pointwise_bn")(x)
    x = L.ReLU(name="sum_relu")(L.Add(name="sum")([x, shortcut]))
    x = L.Conv2D(4, 3, activation="relu", name="fused")(L.MaxPooling2D()(x))
    x = L.Dropout(0.5)(L.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(inputs, L.Dense(10, activation="softmax", name="head")(x))


def movers():
    x = inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, name="plain")(L.ZeroPadding2D()(L.Dropout(0.1)(x)))
    x = L.Conv2D(4, 3, name="before_relu")(L.MaxPooling2D()(L.ZeroPadding2D()(x)))
    x = L.ReLU(name="relu")(x)
    x = L.Conv2D(4, 1, name="linear")(L.AveragePooling2D(name="tied")(x))
    x = L.Reshape((-1,))(L.Flatten()(x))
    return keras.Model(inputs, L.Dense(10, name="head")(x))


def concatenated():
    x = inputs = keras.Input((8, 8, 1))
    left = L.Conv2D(4, 3, padding="same", activation="relu", name="left")(x)
    right = L.Conv2D(4, 1, activation="relu6", name="right")(x)
    x = L.Concatenate()([left, right])
    return keras.Model(inputs, L.Conv2D(4, 1, name="after")(x))


def sequential():
    return keras.Sequential(
        [
            L.Flatten(input_shape=(8, 8, 1), name="flatten"),
            L.Dense(8, activation="relu", name="first"),
            L.Dropout(0.5),
            L.Dense(8, name="second"),
            L.ReLU(name="relu"),
            L.Dense(2, activation="sigmoid", name="third"),
        ]
    )


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (
            residual,
            {
                "stem": ("quantize_layer", "stem_relu", "stem_bn"),
                "depthwise": ("stem_relu", "depthwise_relu", "depthwise_bn"),
                "pointwise": ("depthwise_relu", "pointwise_bn", "pointwise_bn"),
                "fused": ("sum_relu", "fused", None),
                "head": ("mean", "head", None),
            },
        ),
        (
            movers,
            {
                "plain": ("quantize_layer", "plain", None),
                "before_relu": ("plain", "relu", None),
                "linear": ("relu", "linear", None),
                "head": ("linear", "head", None),
            },
        ),
        (
            concatenated,
            {
                "left": ("quantize_layer", "left", None),
                "right": ("quantize_layer", "right", None),
                "after": ("left", "after", None),
            },
        ),
        (
            sequential,
            {
                "first": ("quantize_layer", "first", None),
                "second": ("first", "relu", None),
                "third": ("relu", "third", None),
            },
        ),
    ],
)
def test_links(network, expected):
    assert links(network) == expected


def test_a_batch_norm_with_two_consumers_owns_a_range():
    model = keras_rat.quantize_model(networks.build(networks.pre_activation))
    sources = wiring.source_ranges(model.get_layer("quant_add"))
    assert sources[0].owner == "quant_batch_normalization"


@pytest.mark.parametrize("scale", [True, False])
def test_gain(scale):
    random = np.random.default_rng(0)
    x = inputs = keras.Input((8, 8, 1))
    batch_norm = L.BatchNormalization(scale=scale, epsilon=0.01)
    x = batch_norm(L.Conv2D(4, 3, use_bias=False)(x))
    model = keras.Model(inputs, L.ReLU()(x))
    gamma, variance = random.normal(0, 1, 4), random.uniform(0.1, 2, 4)
    gamma[0] = -abs(gamma[0])
    if scale:
        batch_norm.gamma.assign(gamma)
    batch_norm.moving_variance.assign(variance)
    (layer,) = rescale_layers(keras_rat.quantize_model(model))
    expected = (gamma if scale else 1) / np.sqrt(variance + 0.01)
    np.testing.assert_allclose(wiring.links(layer).gain(), expected, rtol=1e-6)


def test_gain_without_batch_norm_is_one():
    for layer in rescale_layers(keras_rat.quantize_model(networks.build(sequential))):
        np.testing.assert_array_equal(wiring.links(layer).gain(), [1])


def test_copies_are_wired_to_their_own_ranges():
    model = keras_rat.quantize_model(networks.build(sequential))
    with keras_rat.quantize_scope():
        copy = keras.models.clone_model(model)
    for original, cloned in zip(rescale_layers(model), rescale_layers(copy), strict=True):
        assert wiring.links(original).input.owner == wiring.links(cloned).input.owner
        assert wiring.links(original).input.low is not wiring.links(cloned).input.low
        assert any(variable is wiring.links(cloned).input.low for variable in copy.variables)
