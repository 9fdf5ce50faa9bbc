# SPDX-License-Identifier: Apache-2.0
"""keras_rat.calibrate: ranges against numpy statistics of the float network, and scales on the grid afterwards."""

import logging

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from keras_rat import rescale_layers
from keras_rat.calibrate import scales_problem
from tests.helpers import networks
from tests.helpers.litert import off_grid
from tests.helpers.sweeps import sampled

pytestmark = pytest.mark.sweep(3)

L = keras.layers
BATCH = 32


def moving_extremes(values):
    """(low, high) of the batches' extremes with 0 inside: the first as it is, then nine tenths old, one tenth new."""
    low = high = None
    for start in range(0, len(values), BATCH):
        batch = values[start : start + BATCH]
        batch_low, batch_high = min(batch.min(), 0.0), max(batch.max(), 0.0)
        low = batch_low if low is None else 0.9 * low + 0.1 * batch_low
        high = batch_high if high is None else 0.9 * high + 0.1 * batch_high
    return low, high


def expected_ranges(model, owners, images):
    """Ranges of the float network, by the names of the quantised layers that own them."""
    found = {}
    for owner in owners:
        layer = model.get_layer(owner.removeprefix("quant_")) if owner != "quantize_layer" else model.layers[0]
        values = keras.Model(model.inputs, layer.output)(images, training=False).numpy()
        found[owner] = moving_extremes(values)
    return found


def assert_ranges(measured, expected, rtol=1e-4):
    assert measured.keys() == expected.keys()
    for owner, bounds in expected.items():
        np.testing.assert_allclose(measured[owner], bounds, rtol=rtol, atol=1e-6, err_msg=owner)


@pytest.fixture(scope="module")
def plain():
    """A float network and its 31-bit form, whose scales the grid does not move."""
    model = networks.build(networks.residual)
    return model, keras_rat.quantize_model(model, 31)


def feeds(images):
    """Two forms of data; test_inputs.py has all of them."""
    return {"array": images, "generator": ((images[i : i + BATCH], None) for i in range(0, len(images), BATCH))}


@pytest.mark.parametrize("kind", feeds(np.zeros((1, 8, 8, 1), np.float32)))
def test_ranges_are_the_float_networks_whatever_the_feed(plain, digits, kind):
    model, quantized = plain
    images = digits[0][: 3 * BATCH + 5]
    keras_rat.calibrate(quantized, feeds(images)[kind], batch_size=BATCH)
    measured = networks.ranges(quantized)
    assert_ranges(measured, expected_ranges(model, measured, images))


def test_steps_limit_the_batches(plain, digits):
    model, quantized = plain
    keras_rat.calibrate(quantized, digits[0], batch_size=BATCH, steps=2)
    measured = networks.ranges(quantized)
    assert_ranges(measured, expected_ranges(model, measured, digits[0][: 2 * BATCH]))


@pytest.mark.slow
def test_twice_is_as_if_only_the_second_time(plain, digits):
    model, quantized = plain
    images = digits[0][:BATCH]
    keras_rat.calibrate(quantized, 5 * digits[0])
    keras_rat.calibrate(quantized, images)
    measured = networks.ranges(quantized)
    assert_ranges(measured, expected_ranges(model, measured, images))


def test_softmax_inputs_are_measured_in_front_of_the_softmax(digits):
    model = networks.build(networks.softmax)
    quantized = keras_rat.quantize_model(model, 31)
    images = digits[0][:BATCH]
    keras_rat.calibrate(quantized, images)
    logits = keras.Model(model.inputs, model.layers[-2].output)(images).numpy() @ model.layers[-1].kernel.numpy()
    expected = moving_extremes(logits + model.layers[-1].bias.numpy())
    np.testing.assert_allclose(networks.ranges(quantized)["quant_dense_2"], expected, rtol=1e-4)


def test_concatenated_ranges_become_their_hull(digits):
    model = networks.build(networks.concatenate)
    quantized = keras_rat.quantize_model(model, 31)
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    measured = networks.ranges(quantized)
    joined = ["quant_re_lu_1", "quant_re_lu_2"]
    floats = expected_ranges(model, joined, digits[0][:BATCH])
    hull = min(low for low, _ in floats.values()), max(high for _, high in floats.values())
    for owner in joined:
        np.testing.assert_allclose(measured[owner], hull, rtol=1e-4)


def scale(bounds):
    return (bounds[1] - bounds[0]) / 255


@pytest.mark.arithmetic
@pytest.mark.parametrize("method", ["requantize", "keep"])
@pytest.mark.parametrize("bits", sampled([1, 2, 4], 2))
def test_additions_and_poolings_are_on_the_grid_and_ranges_only_grew(digits, bits, method):
    model = networks.build(networks.residual)
    quantized = keras_rat.quantize_model(model, bits, method)
    images = digits[0][:BATCH]
    keras_rat.calibrate(quantized, images)
    measured = networks.ranges(quantized)
    for owner, (low, high) in expected_ranges(model, measured, images).items():
        growth = scale(measured[owner]) / scale((low, high))
        np.testing.assert_allclose(measured[owner], (low * growth, high * growth), rtol=1e-4, atol=1e-6)
        smallest = 1 if method == "requantize" else 1 - 2.0**-bits  # nearest may round a branch's factor down
        assert smallest - 1e-5 <= growth <= 2 + 1e-5, owner
    factors = [
        scale(measured[source]) / scale(measured[target])
        for source, target in (
            ("quant_batch_normalization_2", "quant_re_lu_2"),
            ("quant_re_lu", "quant_re_lu_2"),
            ("quant_re_lu_2", "quant_add_1"),
            ("quant_batch_normalization_3", "quant_add_1"),
            ("quant_add_1", "quant_global_average_pooling2d"),
        )
    ]
    assert off_grid(factors, bits).max() < 2.0**-21


def dense_layers():
    return [L.Dense(16, activation="relu"), L.Dense(16), L.ReLU(), L.Dense(10)]


def dense_sequential():
    return keras.Sequential([keras.Input((64,)), *dense_layers()])


def dense_functional():
    x = inputs = keras.Input((64,))
    for layer in dense_layers():
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.arithmetic
@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("network", [dense_sequential, dense_functional], ids=lambda network: network.__name__)
def test_hidden_dense_outputs_grow_so_that_weights_stay(digits, network, bits):
    """The per-tensor rule of DESIGN.md, section 4: the activation scale lands on the grid, not the weights."""
    model = networks.build(network)
    quantized = keras_rat.quantize_model(model, bits)
    keras_rat.calibrate(quantized, digits[0][:BATCH].reshape(-1, 64))
    ranges = networks.ranges(quantized)
    hidden = [layer for layer in model.layers if isinstance(layer, L.Dense)][:2]
    for layer, source, target in zip(
        hidden, ("quantize_layer", "quant_dense"), ("quant_dense", "quant_re_lu"), strict=True
    ):
        stock = np.abs(layer.kernel.numpy()).max() / 127
        factor = scale(ranges[source]) * stock / scale(ranges[target])
        assert off_grid(factor, bits) < 2.0**-20, layer.name


def test_only_ranges_at_the_border_are_pinned(digits):
    """A convolution that reads the quantised input owns a range that may move."""
    quantized = keras_rat.quantize_model(networks.build(networks.input_branches), 1)
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    problem, _ = scales_problem(quantized, rescale_layers(quantized))
    assert problem.pinned == {"quantize_layer", "quant_dense"}


def test_input_and_output_ranges_stay(digits):
    model = networks.build(networks.residual)
    quantized = keras_rat.quantize_model(model, 1)
    images = digits[0][:BATCH]
    keras_rat.calibrate(quantized, images)
    measured = networks.ranges(quantized)
    border = ["quantize_layer", "quant_dense"]
    assert_ranges({owner: measured[owner] for owner in border}, expected_ranges(model, border, images))


def test_ranges_are_frozen_afterwards(digits):
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense))
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    before = networks.ranges(quantized)
    quantized(1000 * digits[0][:BATCH], training=True)
    assert networks.ranges(quantized) == before


def test_ranges_follow_training_before(digits):
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense))
    quantized(1000 * digits[0][:BATCH], training=True)
    assert networks.ranges(quantized)["quantize_layer"][1] == pytest.approx(1000)


def test_a_second_calibration_follows_new_weights(digits):
    """The multipliers start at the grid point of the present factor, also the second time."""
    model = networks.build(networks.flatten_dense)
    quantized = keras_rat.quantize_model(model, 4)
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    fresh = keras_rat.quantize_model(model, 4)
    keras_rat.calibrate(fresh, 100 * digits[0][:BATCH])
    keras_rat.calibrate(quantized, 100 * digits[0][:BATCH])
    for again, once in zip(quantized.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_allclose(again, once, rtol=1e-6)


@pytest.mark.slow
def test_tensorflow_warns_of_nothing_where_many_models_are_calibrated(digits):
    records, handler = [], logging.Handler(logging.WARNING)
    handler.emit = records.append
    tf.get_logger().addHandler(handler)
    try:
        for seed in range(6):  # of five retracings it would warn
            quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense, seed=seed), 4)
            keras_rat.calibrate(quantized, [digits[0][:32], digits[0][:16]])
    finally:
        tf.get_logger().removeHandler(handler)
    assert [record.getMessage() for record in records] == []


def test_a_model_that_was_not_quantised():
    with pytest.raises(ValueError, match=r"keras_rat\.quantize_model"):
        keras_rat.calibrate(networks.build(networks.flatten_dense), np.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("data", [[], np.zeros((0, 8, 8, 1), np.float32), iter(())], ids=["list", "array", "iterator"])
def test_no_data(plain, data):
    with pytest.raises(ValueError, match="no data"):
        keras_rat.calibrate(plain[1], data)


def test_values_that_are_not_finite(plain, digits):
    _, quantized = plain
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    before = quantized(digits[2][:8], training=False).numpy()
    images = digits[0][: 2 * BATCH].copy()
    images[BATCH, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="batch 1 of the calibration data has values that are not finite"):
        keras_rat.calibrate(quantized, images)
    layer = rescale_layers(quantized)[0]
    weights = layer.get_weights()
    layer.set_weights([np.full_like(w, np.nan) if w.ndim == 4 else w for w in weights])
    with pytest.raises(ValueError, match=r"weights that are not finite .*: .*kernel:0"):
        keras_rat.calibrate(quantized, digits[0][:BATCH])
    layer.set_weights(weights)
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    np.testing.assert_array_equal(quantized(digits[2][:8], training=False), before)


def test_a_failed_calibration_leaves_no_trace_of_observing(plain, digits):
    _, quantized = plain
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    before = quantized(digits[2][:8], training=False).numpy()
    with pytest.raises(ValueError, match="input"):
        keras_rat.calibrate(quantized, np.zeros((4, 3), np.float32))
    keras_rat.calibrate(quantized, digits[0][:BATCH])
    np.testing.assert_array_equal(quantized(digits[2][:8], training=False), before)


def normalised(digits, **options):
    """A small calibrated model with batch normalisation, before and without an activation of its own."""

    def build(x):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, strides=2, use_bias=False)(x)))
        x = L.BatchNormalization()(L.Conv2D(4, 1, use_bias=False)(x))
        return L.Dense(10)(L.Flatten()(x))

    model = keras_rat.quantize_model(networks.build(lambda: networks.functional(build)), 1, "keep")
    keras_rat.calibrate(model, digits[0][:64], **options)
    return model


def trained(model, digits):
    """What one epoch did to (moving statistics, gammas and betas)."""

    def read(names):
        return np.concatenate([w.numpy() for w in model.weights if any(name in w.name for name in names)])

    before = read(["moving_"]), read(["gamma", "beta"])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits[0][:128], digits[1][:128], verbose=0)
    return read(["moving_"]) - before[0], read(["gamma", "beta"]) - before[1]


def test_a_calibrated_model_computes_in_training_as_in_inference(digits):
    model = normalised(digits)
    np.testing.assert_array_equal(model(digits[0][:9], training=True), model(digits[0][:9], training=False))
    statistics, learned = trained(model, digits)
    assert not statistics.any()
    assert learned.any()


@pytest.mark.slow
def test_batch_norm_can_go_on_with_the_batches_statistics(digits):
    model = normalised(digits, freeze_batch_norm=False)
    assert trained(model, digits)[0].all()
    keras_rat.calibrate(model, digits[0][:64])  # in the middle of training
    assert not trained(model, digits)[0].any()


@pytest.mark.slow
@pytest.mark.parametrize("form", sampled(["model.h5", "folder"], 2))
def test_statistics_stay_frozen_in_a_saved_model(digits, form, tmp_path):
    model = normalised(digits)
    trained(model, digits)
    model.save(tmp_path / form)
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / form)
    np.testing.assert_array_equal(loaded(digits[0][:9], training=True), model(digits[0][:9]))
    statistics, learned = trained(loaded, digits)
    assert not statistics.any()
    assert learned.any()
