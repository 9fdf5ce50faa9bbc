# SPDX-License-Identifier: Apache-2.0
"""keras_rat.callbacks on small networks, against numpy, the stored variables and LiteRT."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.summary.summary_iterator import summary_iterator

import keras_rat
from keras_rat import Phase, callbacks, multipliers, rescale_layers, tfmot_internals
from tests.helpers import networks
from tests.helpers.litert import LiteRT, off_grid

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network():
    return networks.build(lambda: networks.one_convolution(8))


@pytest.fixture
def model(digits):
    model = keras_rat.quantize_model(network(), 1)
    keras_rat.calibrate(model, digits[0][:128], freeze_batch_norm=False)
    return model


@pytest.fixture
def frozen(digits):
    """With multipliers that training leaves alone."""
    model = keras_rat.quantize_model(network(), 1, learn_multipliers=False)
    keras_rat.calibrate(model, digits[0][:128], freeze_batch_norm=False)
    return model


def fit(model, digits, epochs, *used, initial_epoch=0, rows=256):
    if not model.optimizer:
        model.compile(keras.optimizers.Adam(0.01), LOSS)
    options = {"batch_size": 64, "epochs": epochs, "initial_epoch": initial_epoch, "verbose": 0}
    return model.fit(digits[0][:rows], digits[1][:rows], callbacks=list(used), **options).history


class Probe(keras.callbacks.Callback):
    """Keeps what a function of the model gives at the end of every epoch."""

    def __init__(self, function):
        super().__init__()
        self.function, self.seen = function, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.function(self.model))


def statistics(model):
    return np.concatenate([w.numpy() for w in model.non_trainable_weights if "moving_" in w.name])


def gammas(model):
    return np.concatenate([w.numpy() for w in model.trainable_weights if "gamma" in w.name])


def test_ranges_and_statistics_stand_still_from_the_epoch_on(digits):
    model = keras_rat.quantize_model(network(), 1)
    probe = Probe(lambda m: (networks.ranges(m), statistics(m), gammas(m), keras_rat.phase(m)))
    fit(model, digits, 4, callbacks.FreezeRanges(2), probe)
    ranges, moving, gamma, phases = zip(*probe.seen, strict=True)
    assert phases == (Phase.LEARNING, Phase.LEARNING, Phase.FROZEN, Phase.FROZEN)
    assert ranges[0] != ranges[1]
    assert ranges[2] == ranges[3]
    assert (moving[0] != moving[1]).all()
    np.testing.assert_array_equal(moving[1], moving[2])
    np.testing.assert_array_equal(moving[2], moving[3])
    assert (gamma[2] != gamma[3]).any()  # still trained


def test_a_frozen_batch_norm_computes_the_same_in_training(model, digits):
    images = digits[0][:32]
    batch_norm_differs = np.abs(model(images, training=True) - model(images, training=False)).max()
    assert batch_norm_differs > 0.1
    fit(model, digits, 1, callbacks.FreezeRanges(0))
    np.testing.assert_allclose(model(images, training=True), model(images, training=False), atol=1e-5)


@pytest.mark.slow
def test_batch_norm_can_be_left_alone(model, digits):
    before = statistics(model)
    fit(model, digits, 1, callbacks.FreezeRanges(0, batch_norm=False))
    assert (statistics(model) != before).all()


def test_freezing_before_any_data_is_refused(digits):
    with pytest.raises(ValueError, match=r"quantize_layer.*calibrate"):
        fit(keras_rat.quantize_model(network(), 1), digits, 1, callbacks.FreezeRanges(0))


@pytest.mark.parametrize("epoch", [-1, 1.0, True, None])
def test_freeze_epoch_is_checked(epoch):
    with pytest.raises(ValueError, match="epoch must be"):
        callbacks.FreezeRanges(epoch)


def widths_and_distance(model):
    """For every layer (widths, worst distance of a multiplier to the grid of its own width)."""
    return [
        (m.bits.tolist(), max(off_grid(v, int(b)) for v, b in zip(m.value, m.bits, strict=True) if b < 24))
        for m in multipliers(model)
    ]


def test_widths_fall_in_stages_and_multipliers_are_on_their_grids(model, digits):
    probe = Probe(widths_and_distance)
    fit(model, digits, 5, callbacks.SnappingSchedule({1: 8, 2: 4, 4: 1}, start_bits=12), probe)
    stages = [{width for bits, _ in layers for width in bits} for layers in probe.seen]
    assert stages == [{12}, {8}, {4}, {4}, {1}]
    assert max(distance for layers in probe.seen for _, distance in layers) < 1e-6
    for name, factor in LiteRT(keras_rat.convert(model)).factors():
        assert off_grid(factor, 1).max() < 2.0**-21, name


def test_a_growing_share_of_channels_is_snapped_the_nearest_first(model, digits):
    before = multipliers(model)[0].factor
    probe = Probe(lambda m: multipliers(m)[0].bits)
    fit(model, digits, 3, callbacks.SnappingSchedule({0: 0.25, 1: 0.5, 2: 1.0}, start_bits=16), probe)
    assert [(bits == 1).sum() for bits in probe.seen] == [2, 4, 8]
    for earlier, later in zip(probe.seen, probe.seen[1:], strict=False):
        assert (later[earlier == 1] == 1).all()  # once snapped, for good
    to_power_above = np.ceil(np.log2(before)) - np.log2(before)
    np.testing.assert_array_equal(np.sort(np.argsort(to_power_above)[:2]), np.flatnonzero(probe.seen[0] == 1))


@pytest.mark.slow
def test_a_schedule_goes_on_where_a_saved_training_stopped(model, digits, tmp_path):
    schedule = {0: 8, 2: 1}
    fit(model, digits, 2, callbacks.SnappingSchedule(schedule))
    model.save(tmp_path / "model.h5")
    with keras_rat.quantize_scope():
        copy = keras.models.load_model(tmp_path / "model.h5")
    assert {b for m in multipliers(copy) for b in m.bits} == {8}
    learned = [
        tfmot_internals.quantized_weights(layer)[0][2]["log2_multiplier"].numpy() for layer in rescale_layers(copy)
    ]
    schedule_of_copy = callbacks.SnappingSchedule(schedule)
    schedule_of_copy.set_model(copy)
    schedule_of_copy.on_epoch_begin(2)
    for row, start in zip(multipliers(copy), learned, strict=True):
        np.testing.assert_array_equal(row.bits, 1)
        np.testing.assert_allclose(np.log2(row.value), np.ceil(start - 1e-6), atol=1e-6)


@pytest.mark.slow
def test_a_model_that_is_not_snapped_yet_does_not_convert(model, digits):
    fit(model, digits, 1, callbacks.SnappingSchedule({0: 8, 5: 1}))
    with pytest.raises(ValueError, match=r"wider than they were trained.*SnappingSchedule"):
        keras_rat.convert(model)


@pytest.mark.parametrize(
    "stages",
    [{}, {0: 1, 2: 4}, {0: 0.5, 1: 4}, {0: 0.5}, {0: 1.0, 1: 0.5}, {-1: 4}, {0: 0}, {0: 40}, {0: 1.5}, {"0": 4}],
    ids=str,
)
def test_stages_are_checked(stages):
    with pytest.raises(ValueError, match=r"stages|widths|shares|bits"):
        callbacks.SnappingSchedule(stages)


def test_a_schedule_that_never_arrives_is_refused(model, digits):
    with pytest.raises(ValueError, match=r"last stage has 2 bits, more than layers quant_conv2d, quant_dense"):
        fit(model, digits, 1, callbacks.SnappingSchedule({0: 4, 1: 2}))


def test_a_schedule_needs_calibration(digits):
    with pytest.raises(ValueError, match="calibrate"):
        fit(keras_rat.quantize_model(network(), 1), digits, 1, callbacks.SnappingSchedule({0: 1}))


@pytest.mark.slow
def test_narrow_accuracy_is_that_of_the_converted_file(model, digits):
    images, labels = digits[2][:300], digits[3][:300]
    history = fit(model, digits, 2, callbacks.NarrowEarlyStopping(images, labels, every=2, patience=3))
    (accuracy,) = history["val_narrow_accuracy"]  # of the second epoch alone
    assert accuracy == (LiteRT(keras_rat.convert(model)).run(images).argmax(1) == labels).mean()


def test_stops_when_the_narrow_accuracy_does_not_grow_and_restores_the_best(model, digits, monkeypatch):
    figures = iter([0.5, 0.8, 0.7, 0.6, 0.9])
    monkeypatch.setattr(callbacks, "narrow_outputs", lambda model, inputs: None)
    stopping = callbacks.NarrowEarlyStopping(
        digits[2], digits[3], metric=lambda labels, outputs: next(figures), patience=2, restore_best_weights=True
    )
    probe = Probe(lambda m: m.get_weights())
    history = fit(model, digits, 10, probe, stopping)
    assert history["val_narrow_accuracy"] == [0.5, 0.8, 0.7, 0.6]
    for restored, best in zip(model.get_weights(), probe.seen[1], strict=True):
        np.testing.assert_array_equal(restored, best)


@pytest.mark.slow
def test_evaluating_leaves_a_model_in_training_as_it_is(digits):
    model = keras_rat.quantize_model(network(), 1)
    fit(model, digits, 1)
    before = model.get_weights()
    outputs = callbacks.narrow_outputs(model, digits[2][:50])
    assert keras_rat.phase(model) is Phase.LEARNING
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(outputs, model(digits[2][:50], training=False), atol=0.15 * np.abs(outputs).max())


@pytest.mark.parametrize("options", [{"every": 0}, {"monitor": "loss"}, {"mode": "min"}, {"labels": [1]}], ids=str)
def test_early_stopping_options_are_checked(digits, options):
    options = {"labels": digits[3]} | options
    with pytest.raises(ValueError, match=r"every|monitor|labels"):
        callbacks.NarrowEarlyStopping(digits[2], **options)


def summaries(folder):
    """{(step, tag): value} of the event files in a folder."""
    values = [
        ((event.step, value.tag), tf.make_ndarray(value.tensor))
        for file in folder.iterdir()
        for event in summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert len(dict(values)) == len(values)
    return dict(values)


def cells(table, layer):
    (row,) = [line.split() for line in table.splitlines() if f"{layer} " in line]
    return row


def learning(digits, bits=1, **options):
    model = keras_rat.quantize_model(network(), bits, learn_multipliers=True, **options)
    keras_rat.calibrate(model, digits[0][:128])
    return model


def test_summaries_and_table(digits, tmp_path):
    model = learning(digits, {"conv2d": 6, "dense": 1})
    start = multipliers(model)
    lines = []
    fit(model, digits, 2, callbacks.RescaleSummaries(tmp_path), callbacks.RescaleTable(lines.append))
    end = multipliers(model)
    found = summaries(tmp_path)
    assert len(found) == 2 * (2 * 5 + 5)  # epochs, layers and the model
    changed = [now.value != then.value for now, then in zip(end, start, strict=True)]
    assert found[1, "changed_since_start"] == pytest.approx(np.concatenate(changed).mean())
    assert 0 < found[1, "moved"] == np.concatenate(changed).sum() < np.concatenate(changed).size
    nearest = []
    for layer, moved in zip(end, changed, strict=True):
        error = np.abs(layer.value / layer.factor - 1).mean()
        assert found[1, f"{layer.layer}/rescale_error"] == pytest.approx(error, rel=1e-5)
        histogram = found[1, f"{layer.layer}/log2_multiplier"]
        assert histogram[:, 2].sum() == layer.value.size
        assert histogram[0, 0] == pytest.approx(np.log2(layer.value).min())
        assert found[1, f"{layer.layer}/moved"] == moved.sum()
        nearest.append(layer.distance[~moved].min())
        assert found[1, f"{layer.layer}/distance_to_decision"] == pytest.approx(nearest[-1])
        row = cells(lines[1], layer.layer)
        assert row[1:3] == [str(layer.bits[0]), str(layer.value.size)]
        assert row[-2:] == [str(moved.sum()), f"{nearest[-1]:.3f}"]
        assert f"{layer.rescale_error:.2%}" in row
    assert found[1, "distance_to_decision"] == pytest.approx(min(nearest))
    errors = np.concatenate([np.abs(layer.value / layer.factor - 1) for layer in end])
    assert found[1, "rescale_error"] == pytest.approx(errors.mean())
    assert len(lines) == 2
    assert "loss" in lines[1]
    assert max(map(len, "\n".join(lines).splitlines())) <= 120


@pytest.mark.slow
def test_where_all_have_moved_there_is_no_distance(digits, tmp_path):
    model = learning(digits, 31)
    lines = []
    fit(model, digits, 1, callbacks.RescaleSummaries(tmp_path), callbacks.RescaleTable(lines.append))
    found = summaries(tmp_path)
    assert found[0, "quant_dense/moved"] == 1  # one multiplier
    assert (0, "quant_dense/distance_to_decision") not in found
    assert cells(lines[0], "quant_dense")[-1] == "1"


STUCK = (
    r"none of 9 multipliers can change.*12 steps of Adam move log2 M by at most about 0.012, the nearest .* 0.42 away"
)


@pytest.mark.slow
def test_a_training_too_short_for_any_multiplier_says_so_once(digits, tmp_path):
    model = learning(digits)
    start = multipliers(model)
    model.compile(keras.optimizers.Adam(1e-3), LOSS)
    lines = []
    fit(model, digits, 4, callbacks.RescaleSummaries(tmp_path), callbacks.RescaleTable(lines.append), initial_epoch=1)
    assert re.search(STUCK, lines[0])
    assert [line.split()[:2] for line in lines[1:]] == [["epoch", "2"], ["epoch", "3"], ["epoch", "4"]]
    (text,) = [(step, str(value)) for (step, tag), value in summaries(tmp_path).items() if tag == "multipliers"]
    assert text[0] == 1
    assert re.search(STUCK, text[1])
    for now, then in zip(multipliers(model), start, strict=True):
        np.testing.assert_array_equal(now.value, then.value)
        assert (now.unsnapped != then.unsnapped).any()


def said_before(model, optimizer, steps=4):
    """What the table says before the first of two epochs."""
    lines = []
    table = callbacks.RescaleTable(lines.append)
    model.compile(optimizer, LOSS)
    table.set_model(model)
    table.set_params({"epochs": 2, "steps": steps})
    table.on_train_begin()
    table.on_epoch_begin(0)
    return lines


@pytest.mark.slow
def test_nothing_is_said_where_a_multiplier_might_change(digits):
    model = learning(digits)
    assert len(said_before(model, keras.optimizers.Adam(0.05))) == 1
    assert said_before(model, keras.optimizers.Adam(0.055)) == []
    assert said_before(model, keras.optimizers.Adam(0.05, weight_decay=0.2)) == []
    assert said_before(model, keras.optimizers.Adam(0.05), 5) == []
    assert said_before(model, keras.optimizers.Adam(0.05), None) == []  # of a generator
    assert said_before(model, keras.optimizers.SGD(1e-9)) == []
    assert said_before(learning(digits, multiplier_rate=1.2), keras.optimizers.Adam(0.05)) == []
    assert said_before(learning(digits, {"conv": 1, "dense": 10}), keras.optimizers.Adam(0.05)) == []
    following = keras_rat.quantize_model(network(), 1, learn_multipliers=True)
    assert said_before(following, keras.optimizers.Adam(1e-6)) == []


@pytest.mark.slow
def test_frozen_multipliers_are_called_so(frozen, digits, tmp_path):
    lines = []
    fit(frozen, digits, 1, callbacks.RescaleSummaries(tmp_path), callbacks.RescaleTable(lines.append))
    assert [line.split()[0] for line in lines] == ["epoch"]
    assert {layer.phase for layer in multipliers(frozen)} == {Phase.FROZEN}
    assert cells(lines[0], "quant_conv2d")[-2:] == ["0", "frozen"]
    found = summaries(tmp_path)
    assert found[0, "moved"] == found[0, "quant_conv2d/moved"] == 0
    assert not any("distance_to_decision" in tag for _, tag in found)


@pytest.mark.slow
def test_a_schedule_moves_frozen_multipliers(frozen, digits):
    lines = []
    fit(frozen, digits, 1, callbacks.SnappingSchedule({0: 8, 3: 1}), callbacks.RescaleTable(lines.append))
    assert int(cells(lines[0], "quant_conv2d")[-2]) > 4


def test_multipliers_are_those_of_the_file(model, digits):
    factors = [factor for _, factor in LiteRT(keras_rat.convert(model)).factors()]
    for layer, factor in zip(multipliers(model), factors, strict=True):
        np.testing.assert_allclose(np.broadcast_to(layer.value, factor.shape), factor, rtol=2.0**-21)


@pytest.mark.slow
def test_restored_weights_of_a_wider_stage_are_snapped_as_they_were_measured(digits):
    images, labels = digits[2][:200], digits[3][:200]
    model = keras_rat.quantize_model(network(), 1)
    keras_rat.calibrate(model, digits[0][:256])
    stopping = callbacks.NarrowEarlyStopping(images, labels, restore_best_weights=True)
    history = fit(model, digits, 2, callbacks.SnappingSchedule({0: 8, 5: 1}), stopping)
    runtime = LiteRT(keras_rat.convert(model))
    assert all(off_grid(factor, 1).max() < 2.0**-21 for _, factor in runtime.factors())
    assert callbacks.top_1(labels, callbacks.narrow_outputs(model, images)) == max(history["val_narrow_accuracy"])
