# SPDX-License-Identifier: Apache-2.0
"""keras_rat.scheme: what gets a quantizer, and of which kind."""

import pytest
import tf_keras as keras

import keras_rat
from keras_rat import rescale_layers
from tests.helpers import networks

L = keras.layers

WEIGHTED = {
    "conv, relu layer": lambda x: L.ReLU()(L.Conv2D(4, 3)(x)),
    "conv, relu6 layer": lambda x: L.ReLU(6.0)(L.Conv2D(4, 3)(x)),
    "conv, Activation relu": lambda x: L.Activation("relu")(L.Conv2D(4, 3)(x)),
    "conv, Activation relu6": lambda x: L.Activation("relu6")(L.Conv2D(4, 3)(x)),
    "conv, fused relu": lambda x: L.Conv2D(4, 3, activation="relu")(x),
    "conv, fused relu6": lambda x: L.Conv2D(4, 3, activation="relu6")(x),
    "conv, fused sigmoid": lambda x: L.Conv2D(4, 3, activation="sigmoid")(x),
    "conv": lambda x: L.Conv2D(4, 3)(x),
    "conv, bn": lambda x: L.BatchNormalization()(L.Conv2D(4, 3)(x)),
    "conv, bn, relu": lambda x: L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3)(x))),
    "conv, bn, Activation relu6": lambda x: L.Activation("relu6")(L.BatchNormalization()(L.Conv2D(4, 3)(x))),
    "depthwise, relu layer": lambda x: L.ReLU()(L.DepthwiseConv2D(3, depth_multiplier=4)(x)),
    "depthwise, bn, relu6": lambda x: L.ReLU(6.0)(
        L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=4)(x)),
    ),
    "dense, relu layer": lambda x: L.ReLU()(L.Dense(4)(L.Flatten()(x))),
    "dense, Activation relu6": lambda x: L.Activation("relu6")(L.Dense(4)(L.Flatten()(x))),
    "dense, softmax layer": lambda x: L.Softmax()(L.Dense(4)(L.Flatten()(x))),
    "dense, fused softmax": lambda x: L.Dense(4, activation="softmax")(L.Flatten()(x)),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_every_weight_has_multipliers_and_every_block_one_range(name):
    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(WEIGHTED[name])))
    (layer,) = rescale_layers(model)
    multipliers = [v for v in layer.weights if v.name.endswith("log2_multiplier:0")]
    assert [tuple(v.shape) for v in multipliers] == [(1,) if name.startswith("dense") else (4,)]
    assert len(networks.ranges(model)) == 2  # the input's and the block's


@pytest.mark.parametrize("head", [L.ReLU(), L.Activation("relu"), L.Activation("relu6")], ids=lambda layer: layer.name)
def test_addition_and_its_relu_share_one_range(head):
    def build(x):
        return head(L.Add()([L.Conv2D(4, 3)(x), L.Conv2D(4, 3)(x)]))

    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(build)))
    assert "quant_add" not in networks.ranges(model)
    assert len(networks.ranges(model)) == 4


def test_separable_convolution_becomes_two_layers():
    model = keras_rat.quantize_model(networks.build(networks.separable))
    kinds = [type(layer.layer) for layer in rescale_layers(model)]
    assert kinds == [L.Conv2D, L.DepthwiseConv2D, L.Conv2D, L.Dense]


@pytest.mark.parametrize("bits", [0, 32, -1, True, 4.0, "4"])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match=r"bits must be an integer from 1 to 31, got"):
        keras_rat.RescaleAwareScheme(bits)


def test_bits_out_of_range_are_named_with_their_pattern():
    with pytest.raises(ValueError, match=r"bits of 'conv': bits must be an integer from 1 to 31, got 0"):
        keras_rat.RescaleAwareScheme({"conv": 0, ".*": 4})


def test_learn_multipliers_is_no_word():
    with pytest.raises(ValueError, match="learn_multipliers must be True, False or None, got 'yes'"):
        keras_rat.RescaleAwareScheme(4, learn_multipliers="yes")


@pytest.mark.parametrize("prefix", [None, 5, "two words/", "_"])
def test_prefixes_that_are_no_beginning_of_a_name(prefix):
    model = networks.build(networks.flatten_dense)
    with pytest.raises(ValueError, match="quantized_layer_name_prefix must be a string of letters"):
        keras_rat.quantize_model(model, quantized_layer_name_prefix=prefix)


@pytest.mark.parametrize("prefix", ["", "q.", "outer/"])
def test_prefixes(prefix):
    model = keras_rat.quantize_model(networks.build(networks.flatten_dense), quantized_layer_name_prefix=prefix)
    assert [layer.name for layer in rescale_layers(model)] == [f"{prefix}dense"]


def test_bits_left_out_are_those_of_the_grid():
    assert keras_rat.RescaleAwareScheme().bits == keras_rat.RescaleAwareScheme(None).bits == 4
    assert keras_rat.RescaleAwareScheme(grid="csd2").bits == 4


def test_method_out_of_range():
    with pytest.raises(ValueError, match=r"requantize, keep.*'requantise'"):
        keras_rat.RescaleAwareScheme(4, "requantise")
