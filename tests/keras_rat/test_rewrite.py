# SPDX-License-Identifier: Apache-2.0
"""keras_rat.graph.rewrite: flat 2-D graphs that compute what the model given computes."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from keras_rat import rescale_layers
from keras_rat.graph import rewrite
from tests.helpers import networks

L = keras.layers


def flat(model):
    found = rewrite.rewrite(model, lambda layer, origin: layer)
    assert not found.offenders
    return found.model


def inputs_for(model, rows=3):
    random = np.random.default_rng(0)
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    arrays = [random.normal(size=(rows, *shape)).astype(np.float32) for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def one_dimensional(*layers, length=20, channels=3):
    return lambda: keras.Sequential([keras.Input((length, channels)), *layers])


ONE_DIMENSIONAL = {
    "valid": lambda: [L.Conv1D(4, 3, strides=2)],
    "same": lambda: [L.Conv1D(4, 4, padding="same", dilation_rate=2)],
    "causal": lambda: [L.Conv1D(4, 3, padding="causal", dilation_rate=2, use_bias=False)],
    "groups": lambda: [L.Conv1D(6, 3, groups=3)],
    "separable": lambda: [L.SeparableConv1D(4, 3, strides=2, depth_multiplier=2, activation="relu")],
    "causal separable": lambda: [L.SeparableConv1D(4, 3, padding="causal")],
    "depthwise": lambda: [L.DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=2)],
    "transposed": lambda: [L.Conv1DTranspose(4, 3, strides=2, padding="same")],
    "transposed, output padding": lambda: [L.Conv1DTranspose(4, 4, strides=3, output_padding=1)],
    "pools": lambda: [L.MaxPooling1D(3, 2), L.AveragePooling1D(2, 1, padding="same")],
    "global mean": lambda: [L.GlobalAveragePooling1D()],
    "global maximum": lambda: [L.GlobalMaxPooling1D(keepdims=True)],
    "edges": lambda: [L.ZeroPadding1D((1, 2)), L.Cropping1D((3, 0)), L.UpSampling1D(3), L.SpatialDropout1D(0.5)],
    "normalised": lambda: [
        L.Conv1D(4, 3),
        L.BatchNormalization(),
        L.Activation("relu"),
        L.Dropout(0.5),
        L.Conv1D(2, 3),
    ],
    "flattened": lambda: [L.Conv1D(4, 3), L.Flatten(), L.Dense(2)],
    "back to one dimension": lambda: [L.Conv1D(4, 3), L.Permute((2, 1)), L.Conv1D(2, 3)],
}


@pytest.mark.parametrize("case", ONE_DIMENSIONAL)
def test_one_dimensional_layers_compute_the_same_in_two(case):
    model = networks.build(one_dimensional(*ONE_DIMENSIONAL[case]()))
    images = inputs_for(model)
    found = flat(model)
    assert not any(type(layer) in rewrite.LIFTED for layer in found.layers)
    np.testing.assert_allclose(found(images), model(images), rtol=1e-5, atol=1e-6)
    assert found.output_shape == model.output_shape


def test_a_chain_of_one_dimensional_layers_is_lifted_once():
    model = networks.build(one_dimensional(*ONE_DIMENSIONAL["normalised"](), L.GlobalAveragePooling1D()))
    assert sum(isinstance(layer, L.Reshape) for layer in flat(model).layers) == 1


def test_an_open_length():
    model = networks.build(one_dimensional(L.Conv1D(4, 3), L.Permute((2, 1)), length=None))
    images = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(flat(model)(images), model(images), rtol=1e-5, atol=1e-6)


def block(name, nested=()):
    x = inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 3, padding="same", name="conv")(x)
    for model in nested:
        x = model(x)
    return keras.Model(inputs, L.ReLU(name="relu")(x), name=name)


def nested():
    x = inputs = keras.Input((8, 8, 4))
    x = L.Add()([block("left", [block("inner")])(x), block("right")(x)])
    head = keras.Sequential([L.Flatten(input_shape=(8, 8, 4)), L.Dense(8, activation="relu"), L.Dense(3)], name="head")
    return keras.Model(inputs, head(x))


def reused():
    relu, pool = L.ReLU(name="relu"), L.MaxPooling2D(name="pool")
    x = inputs = keras.Input((8, 8, 4))
    for _ in range(2):
        x = pool(relu(L.Conv2D(4, 3, padding="same")(x)))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(relu(x))))


def two_in_two_out():
    image, other = keras.Input((8, 8, 1), name="image"), keras.Input((6,), name="other")
    x = L.Flatten()(block("body")(L.Conv2D(4, 1, activation="relu")(image)))
    y = L.Dense(8, activation="relu")(other)
    both = L.Concatenate()([L.Dense(8, activation="relu")(x), y])
    return keras.Model(
        [image, other], [L.Dense(3, name="first")(both), L.Dense(2, activation="softmax", name="second")(y)]
    )


@pytest.mark.parametrize("network", [nested, reused, two_in_two_out])
def test_nested_reused_and_branching_models_compute_the_same(network):
    model = networks.build(network)
    found = flat(model)
    images = inputs_for(model)
    for ours, theirs in zip(tf.nest.flatten(found(images)), tf.nest.flatten(model(images)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in found.layers)
    assert all(len(layer.inbound_nodes) == 1 for layer in found.layers)
    names = [layer.name for layer in found.layers]
    assert len({*names}) == len(names)


def test_the_model_given_stays_as_it_is_and_shares_no_weights():
    model = networks.build(nested)
    nodes = {layer.name: len(layer.inbound_nodes) for layer in model.layers}
    before = model.get_weights()
    quantized = keras_rat.quantize_model(model, 2)
    assert len(rescale_layers(quantized)) == 5
    quantized.set_weights([weight + 1 for weight in quantized.get_weights()])
    assert {layer.name: len(layer.inbound_nodes) for layer in model.layers} == nodes
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_in_flat_form_is_left_alone():
    model = networks.build(networks.residual)
    assert flat(model) is model


def test_dict_inputs_keep_their_names():
    given = {"a": keras.Input((20, 3), name="a"), "b": keras.Input((20, 3), name="b")}
    model = keras.Model(given, L.Conv1D(2, 3)(L.Add()([given["a"], given["b"]])))
    data = {name: np.ones((2, 20, 3), np.float32) for name in "ab"}
    np.testing.assert_allclose(flat(model)(data), model(data), rtol=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="opaque")
        self.dense = L.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


def test_everything_that_cannot_be_trained_is_named_at_once_with_the_fix():
    x = inputs = keras.Input((8, 8, 4))
    twice = L.Conv2D(4, 3, padding="same", name="twice")
    x = L.ELU(name="elu")(twice(twice(x)))
    x = L.LSTM(4, name="recurrent")(L.Reshape((64, 4))(x))
    x = tf.math.sin(Subclassed()(x))
    model = keras.Model(inputs, L.Lambda(lambda x: x, name="lambda")(x))
    with pytest.raises(ValueError, match="cannot be trained") as error:
        keras_rat.quantize_model(model)
    for part in (
        "Conv2D used 2 times; make a layer of its own for each use: twice",
        "a subclassed model, whose layers cannot be seen; build it with the functional API: opaque",
        "ELU: int8 kernels look it up",
        "LSTM: the converter makes no int8 operator of a trained loop",
        "Lambda: its function cannot be seen; put the Keras layer for it in its place: lambda",
        "a TensorFlow function called on a Keras tensor; put the Keras layer for it in its place: tf.math.sin",
    ):
        assert part in str(error.value)


def test_a_block_used_twice_shares_its_weights_and_is_refused():
    x = inputs = keras.Input((8, 8, 4))
    shared = block("shared")
    with pytest.raises(ValueError, match=r"Conv2D used 2 times; .*: conv\n"):
        keras_rat.quantize_model(keras.Model(inputs, shared(shared(x))))


@pytest.mark.parametrize(
    "call", [keras_rat.quantize_model, keras_rat.quantize_annotate_model, keras_rat.quantize_apply]
)
def test_subclassed_and_unbuilt_models_are_told_what_to_do(call):
    with pytest.raises(ValueError, match=r"opaque.*functional API"):
        call(Subclassed())
    with pytest.raises(ValueError, match=r"not built; give its first layer an input_shape"):
        call(keras.Sequential([L.Dense(2)]))
