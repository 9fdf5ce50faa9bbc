# SPDX-License-Identifier: Apache-2.0
"""trainable=False, before quantize_model and after: what training leaves alone, bit by bit."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from tests.helpers import networks

pytestmark = pytest.mark.sweep(3)

L = keras.layers
FROZEN = ("conv", "norm", "deep", "plain", "dense")


def base():
    """Layers with weights of every kind, each frozen in one test or another."""
    inputs = keras.Input((8, 8, 1))
    x = L.ReLU()(L.BatchNormalization(name="norm")(L.Conv2D(4, 3, use_bias=False, name="conv")(inputs)))
    x = L.DepthwiseConv2D(3, name="deep")(x)
    x = L.Conv2D(4, 1, activation="relu", name="plain")(x)
    return keras.Model(inputs, x, name="base")


def flat():
    x = base()
    return keras.Model(x.input, L.Dense(10, name="head")(L.Dense(8, name="dense")(L.Flatten()(x.output))))


def nested():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, L.Dense(10, name="head")(L.Dense(8, name="dense")(L.Flatten()(base()(inputs)))))


def layers(model):
    """The layers of a model, at any depth and without what is around them, by name."""
    found = {}
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        found |= layers(inner) if isinstance(inner, keras.Model) else {inner.name: layer}
    return found


def freeze(model, names):
    for name in names:
        layers(model)[name].trainable = False


def trained(model, digits, callbacks=()):
    """The names of the layers of which weights that are learned moved in training."""
    keras_rat.calibrate(model, digits[0][:64])
    before = {name: [w.numpy() for w in learned(layer)] for name, layer in layers(model).items()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss)
    model.fit(digits[0][:64], digits[1][:64], verbose=0, epochs=2, callbacks=list(callbacks))
    return {
        name
        for name, layer in layers(model).items()
        if any((old != new.numpy()).any() for old, new in zip(before[name], learned(layer), strict=True))
    }


def learned(layer):
    """All that gradients may move, and moving statistics; not ranges and counters."""
    parts = ("kernel:", "bias:", "gamma:", "beta:", "moving_", "log2_multiplier:")
    return [weight for weight in layer.weights if any(part in weight.name for part in parts)]


def trainable(model):
    """The names of the layers of which weights are trainable, multipliers with them."""
    return {weight.name.split("/")[0].removeprefix("quant_") for weight in model.trainable_weights}


def test_frozen_before(digits):
    model = networks.build(flat)
    freeze(model, FROZEN)
    quantized = keras_rat.quantize_model(model, 4, learn_multipliers=True)
    assert trained(quantized, digits) == trainable(quantized) == {"head"}


def test_frozen_after(digits):
    quantized = keras_rat.quantize_model(networks.build(flat), 8, "keep", learn_multipliers=True)
    everything = {*FROZEN, "head"}
    for name in FROZEN:
        freeze(quantized, [name])
        assert trainable(quantized) == everything - {name}
        layers(quantized)[name].trainable = True
    freeze(quantized, ["norm", "deep", "dense"])
    assert trained(quantized, digits, callbacks=[keras_rat.callbacks.LearnMultipliers()]) == {"conv", "plain", "head"}
    for name in FROZEN:
        layers(quantized)[name].trainable = True
    assert trainable(quantized) == everything


def test_frozen_in_a_nested_model():
    """As in Keras, layers of a frozen model that are made trainable stay frozen."""
    model = networks.build(nested)
    freeze(model, ["conv", "norm"])
    assert trainable(keras_rat.quantize_model(model, 4)) == {"deep", "plain", "dense", "head"}
    model.get_layer("base").trainable = False
    layers(model)["conv"].trainable = True
    assert trainable(keras_rat.quantize_model(model, 4)) == {"dense", "head"}
    assert trainable(model) == {"dense", "head"}


def test_statistics_of_a_frozen_batch_norm_stay_without_calibration(digits):
    quantized = keras_rat.quantize_model(networks.build(flat), 4)
    norm = layers(quantized)["norm"]
    before = norm.layer.moving_mean.numpy()
    freeze(quantized, ["norm"])
    quantized(digits[0][:9], training=True)
    np.testing.assert_array_equal(norm.layer.moving_mean, before)
    norm.trainable = True
    quantized(digits[0][:9], training=True)
    assert (norm.layer.moving_mean.numpy() != before).all()


def test_the_whole_model_frozen_before(digits):
    model = networks.build(flat)
    model.trainable = False
    model.get_layer("head").trainable = True
    quantized = keras_rat.quantize_model(model, 4)
    assert quantized.trainable_weights == model.trainable_weights == []


def folded():
    return networks.functional(
        lambda x: L.Dense(10, name="head")(L.BatchNormalization(name="norm")(L.Dense(8, name="dense")(L.Flatten()(x))))
    )


def lines():
    x = inputs = keras.Input((12, 3))
    x = L.SeparableConv1D(4, 3, name="split")(x)
    x = L.Conv1D(4, 3, activation="relu", name="line")(x)
    return keras.Model(inputs, L.Dense(10, name="head")(L.Flatten()(x)))


def test_layers_that_are_rewritten_stay_frozen():
    """A dense layer with its batch normalisation in it, and those of one dimension."""
    model = networks.build(folded)
    freeze(model, ["dense"])
    assert trainable(keras_rat.quantize_model(model, 4)) == {"head"}
    model = networks.build(lines)
    freeze(model, ["split", "line"])
    assert trainable(keras_rat.quantize_model(model, 4)) == {"head"}


@pytest.mark.slow
def test_calibration_moves_weights_of_frozen_layers_but_not_what_they_compute(digits):
    """Gain errors are absorbed there, too, where fit could not train them away: agreement is that of 31 bits."""
    model = networks.build(flat)
    freeze(model, FROZEN)
    quantized, exact = (keras_rat.quantize_model(model, bits, "keep") for bits in (1, 31))
    for each in (quantized, exact):
        keras_rat.calibrate(each, digits[0][:64])
    old, new = (learned(layers(each)["norm"])[0].numpy() for each in (exact, quantized))
    assert (np.abs(new / old - 1) > 0.05).any()  # gammas, by what puts factors on the grid
    agreement = exact.predict(digits[2], verbose=0).argmax(-1) == quantized.predict(digits[2], verbose=0).argmax(-1)
    assert agreement.mean() > 0.9


@pytest.mark.parametrize("form", ["model.h5", "folder"])
def test_frozen_models_are_saved_and_load_frozen(digits, form, tmp_path):
    model = networks.build(flat)
    freeze(model, FROZEN)
    quantized = keras_rat.quantize_model(model, 4, learn_multipliers=True)
    quantized.save(tmp_path / form)
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / form)
    np.testing.assert_array_equal(loaded(digits[2][:9]), quantized(digits[2][:9]))
    assert trainable(loaded) == {"head"}


@pytest.mark.slow
def test_weights_of_frozen_and_trainable_models_are_in_one_order(digits, tmp_path):
    quantized = keras_rat.quantize_model(networks.build(flat), 4, learn_multipliers=True)
    keras_rat.calibrate(quantized, digits[0][:64])
    quantized.save_weights(tmp_path / "weights.h5")
    names = [weight.name for weight in quantized.weights]
    model = networks.build(flat, seed=1)
    freeze(model, FROZEN)
    other = keras_rat.quantize_model(model, 4, learn_multipliers=True)
    other.load_weights(tmp_path / "weights.h5")
    np.testing.assert_array_equal(other(digits[2][:9]), quantized(digits[2][:9]))
    freeze(quantized, FROZEN)
    assert sorted(weight.name for weight in quantized.weights) == sorted(names)
    assert len({id(weight) for weight in quantized.weights}) == len(names)
