# SPDX-License-Identifier: Apache-2.0
"""Multipliers learned by gradient: how far they can go, when they stop, and what a training without them does."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from keras_rat import callbacks, rescale_layers, tfmot_internals
from tests.helpers import networks
from tests.helpers.sweeps import sampled
from tflm_export import rescale
from tflm_export.errors import UsageError

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(3)]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RATE = 1e-3


def quantized(digits, learn=True):
    keras.utils.set_random_seed(0)
    model = keras_rat.quantize_model(networks.build(networks.sequential), 1, "keep", learn_multipliers=learn)
    keras_rat.calibrate(model, digits[0][:64])
    return model


def learned(model):
    """log2 of the multipliers before they are rounded to the grid, all layers'."""
    found = [tfmot_internals.quantized_weights(layer)[0] for layer in rescale_layers(model)]
    return np.concatenate([np.log2(quantizer.unsnapped(variables)) for _, quantizer, variables in found])


class Watch(keras.callbacks.Callback):
    """Takes the multipliers down when training begins and after every epoch."""

    def on_train_begin(self, logs=None):
        self.seen = [learned(self.model)]

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(learned(self.model))


def fit(model, digits, callback, epochs=4, rate=RATE, optimizer=keras.optimizers.Adam, **options):
    model.compile(optimizer(rate), LOSS)
    watch = Watch()
    model.fit(digits[0][:256], digits[1][:256], 32, epochs, verbose=0, callbacks=[callback, watch], **options)
    return watch.seen


def schedule():
    return keras.optimizers.schedules.CosineDecay(RATE, 32)


@pytest.mark.parametrize("rate", [lambda: RATE, schedule], ids=["constant", "cosine"])
@pytest.mark.parametrize("reach", sampled([1.0, 0.25], 2))
def test_multipliers_go_as_far_as_they_are_to_and_then_stand_still(digits, rate, reach):
    seen = fit(quantized(digits), digits, callbacks.LearnMultipliers(reach=reach), rate=rate())
    way = np.abs(seen[2] - seen[0])
    assert 0.3 * reach < way.max() <= 1.1 * reach  # Adam's first steps are a little longer than its rate
    frozen = [np.log2(rescale.decompose(value, 1).value) for value in 2.0 ** seen[2]]
    for later in seen[3:]:
        np.testing.assert_allclose(later, frozen, atol=1e-6)


@pytest.mark.slow
def test_the_share_of_epochs(digits):
    seen = fit(quantized(digits), digits, callbacks.LearnMultipliers(share=0.1), epochs=3)
    assert (seen[1] != seen[0]).any()
    np.testing.assert_array_equal(seen[2], seen[3])


@pytest.mark.slow
def test_a_training_that_begins_later(digits):
    """The share is of the epochs that are left."""
    seen = fit(quantized(digits), digits, callbacks.LearnMultipliers(), epochs=6, initial_epoch=4)
    assert (seen[1] != seen[0]).any()
    assert set(np.round(seen[2], 6) % 1) == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [lambda rate: keras.optimizers.AdamW(rate, weight_decay=1.0), keras.optimizers.legacy.Adam],
    ids=["weight_decay", "legacy"],
)
def test_no_optimizer_moves_what_is_held(digits, optimizer):
    seen = fit(quantized(digits), digits, callbacks.LearnMultipliers(), optimizer=optimizer)
    assert (seen[1] != seen[0]).any()
    np.testing.assert_array_equal(seen[3], seen[4])
    assert set(np.round(seen[4], 6) % 1) == {0.0}


@pytest.mark.slow
def test_weights_go_into_a_fresh_model(digits, tmp_path):
    """Also in the middle of learning: what the variables hold does not depend on how fast they learn."""
    model = quantized(digits)
    fit(model, digits, callbacks.LearnMultipliers(share=1), epochs=1)
    model.save_weights(tmp_path / "weights.h5")
    fresh = keras_rat.quantize_model(networks.build(networks.sequential), 1, "keep", learn_multipliers=True)
    fresh.load_weights(tmp_path / "weights.h5")
    np.testing.assert_array_equal(learned(fresh), learned(model))
    np.testing.assert_array_equal(fresh(digits[0][:9]), model(digits[0][:9]))


def test_a_schedule_comes_first(digits):
    """What it puts on the grid is what is held."""
    model = keras_rat.quantize_model(networks.build(networks.sequential), 1, learn_multipliers=True)
    keras_rat.calibrate(model, digits[0][:64])
    model.compile(keras.optimizers.Adam(RATE), LOSS)
    order = [callbacks.SnappingSchedule({0: 8, 3: 1}), callbacks.LearnMultipliers()]
    model.fit(digits[0][:256], digits[1][:256], 32, 4, verbose=0, callbacks=order)
    assert set(np.round(learned(model), 6) % 1) == {0.0}


@pytest.mark.slow
def test_a_model_learns_on_after_it_was_saved(digits, tmp_path):
    model = quantized(digits)
    fit(model, digits, callbacks.LearnMultipliers())
    model.save(tmp_path / "model.h5")
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(learned(loaded), learned(model))
    np.testing.assert_array_equal(loaded(digits[0][:9]), model(digits[0][:9]))
    assert keras_rat.convert(loaded) == keras_rat.convert(model)


@pytest.mark.slow
def test_multipliers_stay_where_calibrate_put_them_by_default(digits):
    model = quantized(digits, learn=False)
    before = learned(model)
    model.compile(keras.optimizers.Adam(0.1), LOSS)
    model.fit(digits[0][:64], digits[1][:64], verbose=0)
    np.testing.assert_array_equal(learned(model), before)
    with pytest.raises(
        UsageError, match=r"multipliers are not learned; quantize_model\(\.\.\., learn_multipliers=True"
    ):
        fit(model, digits, callbacks.LearnMultipliers())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "share must be above 0 and at most 1, got 0"),
        ({"share": 1.5}, "share must be above 0 and at most 1, got 1.5"),
        ({"reach": -1}, "reach must be a positive number of octaves, got -1"),
        ({"reach": float("nan")}, "reach must be a positive number"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        callbacks.LearnMultipliers(**arguments)


def test_a_rate_without_learning():
    with pytest.raises(UsageError, match=r"multiplier_rate 2\.0 is of no use with learn_multipliers=False"):
        keras_rat.quantize_model(networks.build(networks.sequential), 1, multiplier_rate=2.0, learn_multipliers=False)


@pytest.mark.parametrize(
    ("arguments", "learns"),
    [
        ({"bits": 4}, False),
        ({"bits": 5}, True),
        ({"bits": 31}, True),
        ({"grid": "csd2"}, False),
        ({"bits": 8, "method": "keep"}, False),
        ({"bits": 1, "method": "keep", "multiplier_rate": 2.0}, True),
        ({"bits": 31, "learn_multipliers": False}, False),
    ],
)
def test_what_learns_by_default(arguments, learns):
    model = keras_rat.quantize_model(networks.build(networks.sequential), **arguments)
    names = [variable.name for variable in model.trainable_variables]
    assert any("log2_multiplier" in name for name in names) == learns


def test_an_optimizer_without_a_known_reach(digits):
    model = quantized(digits)
    model.compile(keras.optimizers.SGD(0.01), LOSS)
    with pytest.raises(UsageError, match="how far SGD moves multipliers is not known; train with Adam"):
        model.fit(digits[0][:64], digits[1][:64], verbose=0, callbacks=[callbacks.LearnMultipliers()])


def test_multipliers_that_are_not_set(digits):
    model = keras_rat.quantize_model(networks.build(networks.sequential), 1, learn_multipliers=True)
    with pytest.raises(UsageError, match=r"multipliers are not set; call keras_rat\.calibrate"):
        fit(model, digits, callbacks.LearnMultipliers())
