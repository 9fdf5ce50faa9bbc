# SPDX-License-Identifier: Apache-2.0
"""keras_rat.phases: what a model does at present, in training, in files of this and of earlier versions, on devices."""

import json

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from keras_rat import Phase, phases, quantizers
from tests.helpers import networks

pytestmark = pytest.mark.sweep(3)

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network():
    return networks.build(lambda: networks.one_convolution(4))


def fit(model, digits):
    model.compile("sgd", LOSS)
    model.fit(digits[0][:64], digits[1][:64], verbose=0)


def test_from_waiting_to_frozen_by_training(digits):
    model = keras_rat.quantize_model(network(), 2)
    assert keras_rat.phase(model) is Phase.WAITING
    model(digits[0][:8], training=False)
    assert keras_rat.phase(model) is Phase.WAITING
    fit(model, digits)
    assert keras_rat.phase(model) is Phase.LEARNING
    keras_rat.convert(model)
    assert keras_rat.phase(model) is Phase.FROZEN
    ranges = networks.ranges(model)
    fit(model, digits)
    assert networks.ranges(model) == ranges


def test_from_waiting_to_frozen_by_calibration(digits):
    model, seen = keras_rat.quantize_model(network(), 2), []

    def batches():
        for start in (0, 8, 16):
            seen.append(keras_rat.phase(model))
            yield digits[0][start : start + 8]

    keras_rat.calibrate(model, batches())
    assert seen == [Phase.WAITING, Phase.OBSERVING, Phase.OBSERVING]
    assert keras_rat.phase(model) is Phase.FROZEN


def test_a_calibration_that_failed_changes_nothing(digits):
    model = keras_rat.quantize_model(network(), 2)

    def fail():
        with pytest.raises(ValueError, match="not finite"):
            keras_rat.calibrate(model, iter([digits[0][:8], np.full((8, 8, 8, 1), np.nan, np.float32)]))

    fail()
    assert keras_rat.phase(model) is Phase.WAITING
    keras_rat.calibrate(model, digits[0][:64])
    before = networks.ranges(model)
    fail()
    assert keras_rat.phase(model) is Phase.FROZEN
    assert networks.ranges(model) == before


def test_a_model_without_ranges_is_frozen():
    assert keras_rat.phase(network()) is Phase.FROZEN


def test_observing_one_model_leaves_others_alone(digits):
    one, other = (keras_rat.quantize_model(network(), 2) for _ in range(2))
    keras_rat.calibrate(other, digits[0][:64])
    ranges, expected = networks.ranges(other), other(digits[0][:8], training=False).numpy()
    with phases.observing(one):
        np.testing.assert_array_equal(other(digits[0][:8], training=False), expected)
        floats = one(digits[0][:8], training=False).numpy()
    assert networks.ranges(other) == ranges
    np.testing.assert_allclose(floats, network()(digits[0][:8], training=False), rtol=1e-5, atol=1e-5)
    assert np.abs(one(digits[0][:8], training=False) - floats).max() > 1e-3  # quantised again


@pytest.mark.parametrize(("number", "expected"), [(0, Phase.WAITING), (-1, Phase.FROZEN), (1, Phase.LEARNING)])
def test_numbers_in_files_stay(number, expected):
    assert Phase(number) is expected


def test_batches_counted_by_earlier_versions_are_learning_and_other_numbers_nothing():
    assert Phase(2) is Phase(4000) is Phase.LEARNING
    with pytest.raises(ValueError, match="-7"):
        Phase(-7)


def to_earlier_version(path, batches):
    """Changes an .h5 file to what versions without `Phase` wrote: batches seen, and the switch beside the layer."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for wrapper in config["config"]["layers"]:
            layer = wrapper["config"].get("layer", {})
            if layer.get("class_name") == "FreezableBatchNormalization":
                layer |= {"module": "keras.layers", "class_name": "BatchNormalization", "registered_name": None}
                frozen = layer["config"].pop("frozen_statistics")
                wrapper["config"]["quantize_config"]["config"] = {"frozen_statistics": True} if frozen else {}
        file.attrs["model_config"] = json.dumps(config)
        names = []
        file["model_weights"].visit(lambda name: names.append(name) if name.endswith("_batches:0") else None)
        assert len(names) == 3
        for name in names:
            if batches is not None:
                file["model_weights"][name][...] = batches


@pytest.mark.parametrize(
    ("calibrated", "batches", "phase"), [(True, None, Phase.FROZEN), (False, 57, Phase.LEARNING)], ids=str
)
def test_files_of_earlier_versions_load(digits, tmp_path, calibrated, batches, phase):
    model = keras_rat.quantize_model(network(), 2)
    if calibrated:
        keras_rat.calibrate(model, digits[0][:64])
    fit(model, digits)
    model.save(tmp_path / "model.h5")
    to_earlier_version(tmp_path / "model.h5", batches)
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "model.h5")
    assert keras_rat.phase(loaded) is phase
    np.testing.assert_array_equal(loaded(digits[0][:8], training=True), model(digits[0][:8], training=True))
    keras_rat.calibrate(loaded, digits[0][:64])
    np.testing.assert_array_equal(loaded(digits[0][:8], training=True), loaded(digits[0][:8], training=False))


@pytest.mark.slow
def test_phases_under_a_strategy(digits):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = keras_rat.quantize_model(network(), 2)
        fit(model, digits)
        assert keras_rat.phase(model) is Phase.LEARNING
        keras_rat.calibrate(model, digits[0][:64])
        ranges = networks.ranges(model)
        fit(model, digits)
        assert keras_rat.phase(model) is Phase.FROZEN
        assert networks.ranges(model) == ranges


@pytest.mark.parametrize("kind", [L.BatchNormalization, L.experimental.SyncBatchNormalization])
def test_statistics_of_either_batch_normalisation_freeze(digits, kind):
    model = keras_rat.quantize_model(
        keras.Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 1)), kind(), L.ReLU(), L.Flatten(), L.Dense(2)])
    )
    assert isinstance(model.layers[2].layer, kind)
    keras_rat.calibrate(model, digits[0][:64])
    images = digits[0][64:72]
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))


def test_quantizers_let_floats_through_while_observed():
    values = tf.constant([0.1, 0.2, 0.3])
    table = quantizers.TableQuantizer("softmax")
    assert np.abs(table(values, False, {}) - values).max() > 0
    table.observing = True
    np.testing.assert_array_equal(table(values, False, {}), values)
