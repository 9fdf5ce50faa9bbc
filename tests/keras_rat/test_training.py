# SPDX-License-Identifier: Apache-2.0
"""Rescale-aware training: what falls, what moves, what survives saving, and what it buys."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from tests.helpers import networks
from tests.helpers.litert import LiteRT, off_grid
from tests.helpers.sweeps import sampled

pytestmark = pytest.mark.sweep(3)

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(seed):
    keras.backend.reset_uids()
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = L.MaxPooling2D()(L.ReLU()(L.BatchNormalization(momentum=0.8)(x)))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.ReLU(6.0)(L.BatchNormalization(momentum=0.8)(x))
    x = L.ReLU()(L.Conv2D(16, 3)(x))
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(x)))


def fit(model, digits, epochs, rate=0.003):
    model.compile(keras.optimizers.Adam(rate), LOSS, ["accuracy"])
    return model.fit(digits[0], digits[1], batch_size=64, epochs=epochs, verbose=0).history


def multipliers(model):
    """The trainable log2 multipliers of every layer with weights."""
    return [v for v in model.trainable_variables if v.name.endswith("log2_multiplier:0")]


@pytest.fixture(scope="module")
def trained(digits):
    model = network(0)
    fit(model, digits, 8, 0.01)
    return model


@pytest.fixture(scope="module")
def tuned(trained, digits):
    """(model at 2 bits after three epochs, its log2 multipliers before, loss before, losses of the epochs)."""
    keras.utils.set_random_seed(0)
    model = keras_rat.quantize_model(trained, 2, learn_multipliers=True)
    keras_rat.calibrate(model, digits[0])
    start = [v.numpy() for v in multipliers(model)]
    before = float(LOSS(digits[1], model(digits[0], training=False)))
    losses = fit(model, digits, 3)["loss"]
    return model, start, before, losses


def test_loss_falls(tuned, digits):
    model, _, before, losses = tuned
    assert losses[-1] < losses[0]
    assert float(LOSS(digits[1], model(digits[0], training=False))) < before


def test_multipliers_get_gradients_and_move(tuned, digits):
    model, start, _, _ = tuned
    with tf.GradientTape() as tape:
        loss = LOSS(digits[1][:64], model(digits[0][:64], training=True))
    for variable, gradient, first in zip(
        multipliers(model), tape.gradient(loss, multipliers(model)), start, strict=True
    ):
        assert np.isfinite(gradient.numpy()).all()
        assert (gradient.numpy() != 0).mean() > 0.5, variable.name
        assert (variable.numpy() != first).mean() > 0.5, variable.name


def test_training_steps_leave_ranges_and_other_state_alone(tuned, trained, digits):
    model, *_ = tuned
    fresh = keras_rat.quantize_model(trained, 2)
    keras_rat.calibrate(fresh, digits[0])
    assert networks.ranges(model) == networks.ranges(fresh)


@pytest.fixture(scope="module")
def exported(tuned):
    return LiteRT(keras_rat.convert(tuned[0]))


def test_exported_multipliers_are_those_learned(tuned, exported):
    learned = []
    for variable in multipliers(tuned[0]):
        power = 2.0 ** variable.numpy().astype(np.float64)
        unit = 2.0 ** (np.floor(np.log2(power)) - 1)
        learned.append(np.floor(power / unit + 0.5) * unit)
    factors = [factor for _, factor in exported.factors()]
    assert len(factors) == len(learned)
    for factor, expected in zip(factors, learned, strict=True):
        np.testing.assert_allclose(factor, np.broadcast_to(expected, factor.shape), rtol=2.0**-21)


def test_top_1_agrees_with_litert(tuned, exported, digits):
    keras_top = tuned[0](digits[2], training=False).numpy().argmax(1)
    litert_top = exported.run(digits[2]).argmax(1)
    assert (keras_top == litert_top).mean() >= 0.99
    assert (litert_top == digits[3]).mean() > 0.9


def reload_h5(model, path):
    model.save(path / "model.h5")
    with keras_rat.quantize_scope():
        return keras.models.load_model(path / "model.h5")


def reload_saved_model(model, path):
    model.save(path / "model", save_format="tf")
    with keras_rat.quantize_scope():
        return keras.models.load_model(path / "model")


def clone(model, path):
    with keras_rat.quantize_scope():
        copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def weights_alone(model, path):
    model.save_weights(path / "weights.h5")
    copy = clone(model, path)
    copy.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    copy.load_weights(path / "weights.h5")
    return copy


@pytest.mark.parametrize("again", sampled([reload_h5, reload_saved_model, clone, weights_alone], 2))
def test_copies_predict_convert_and_train_alike(tuned, exported, digits, tmp_path, again):
    model, *_ = tuned
    copy = again(model, tmp_path)
    expected = model(digits[2], training=False)
    np.testing.assert_array_equal(copy(digits[2], training=False), expected)
    converted = LiteRT(keras_rat.convert(copy))
    for (name, factor), (_, original) in zip(converted.factors(), exported.factors(), strict=True):
        np.testing.assert_array_equal(factor, original, err_msg=name)
    for weights, original in zip(converted.weights(), exported.weights(), strict=True):
        np.testing.assert_array_equal(weights, original)
    before = [v.numpy() for v in multipliers(copy)]
    ranges = networks.ranges(copy)
    copy.compile(keras.optimizers.Adam(0.01), LOSS)
    copy.fit(digits[0][:128], digits[1][:128], verbose=0)
    assert networks.ranges(copy) == ranges
    assert all((v.numpy() != old).any() for v, old in zip(multipliers(copy), before, strict=True))
    np.testing.assert_array_equal(model(digits[2], training=False), expected)


def test_a_copy_of_an_uncalibrated_model_can_be_calibrated(trained, digits):
    copy = clone(keras_rat.quantize_model(trained, 1), None)
    keras_rat.calibrate(copy, digits[0][:256])
    for _, factor in LiteRT(keras_rat.convert(copy)).factors():
        assert off_grid(factor, 1).max() < 2.0**-21


def test_31_bits_train_as_tfmot_does(trained, digits):
    """One batch: the loss and the gradients of the float variables. tfmot normalises by the batch's statistics."""
    quantized = keras_rat.quantize_model(trained, 31)
    keras_rat.calibrate(quantized, digits[0], freeze_batch_norm=False)
    twin = networks.tfmot_twin(trained, quantized)
    results = []
    for model in (quantized, twin):
        kernels = [v for v in model.trainable_variables if v.name.endswith(("kernel:0", "gamma:0", "beta:0", "bias:0"))]
        with tf.GradientTape() as tape:
            loss = LOSS(digits[1][:256], model(digits[0][:256], training=True))
        named = zip(kernels, tape.gradient(loss, kernels), strict=True)
        results.append((float(loss), {v.name: g.numpy().ravel() for v, g in named}))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours == pytest.approx(theirs, rel=0.03)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        other = their_gradients[name]
        cosine = gradient @ other / np.linalg.norm(gradient) / np.linalg.norm(other)
        assert cosine > 0.98, name


def deep_network(seed):
    """Nine convolutions: enough for the gain errors of the `keep` grid to add up."""
    keras.backend.reset_uids()
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 1))
    for depth in range(9):
        x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = L.ReLU(6.0)(L.BatchNormalization(momentum=0.8)(x))
        x = L.MaxPooling2D()(x) if depth == 1 else x
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(x)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_tuning_on_the_keep_grid_recovers_what_narrowing_loses(digits, seed):
    """At 1 bit: at 2 bits a network this small loses too little to tell. Absorbed, gain errors lose nothing."""
    model = deep_network(seed)
    fit(model, digits, 6, 0.01)

    def loss(m):
        return float(LOSS(digits[3], m(digits[2], training=False)))

    absorbed, narrowed = (keras_rat.quantize_model(model, 1, "keep") for _ in range(2))
    keras_rat.calibrate(absorbed, digits[0])
    keras_rat.calibrate(narrowed, digits[0], multipliers="nearest")
    full, before = loss(model), loss(narrowed)
    fit(narrowed, digits, 2)
    assert before > 2 * full
    assert loss(narrowed) < 0.75 * before
    assert loss(absorbed) < 1.1 * full
