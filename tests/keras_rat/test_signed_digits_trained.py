# SPDX-License-Identifier: Apache-2.0
"""Training with factors of two signed digits, by the name `csd2`: the twin is the exact grid, and files are on it."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import example, given, settings
from hypothesis import strategies as st

import keras_rat
import tflm_export
from keras_rat import callbacks, grid
from keras_rat.signed_digits import CSD2
from tests.helpers import networks, peer
from tests.helpers.signed_digits import off_csd2
from tests.helpers.sweeps import sampled
from tflm_export import runtimes, signed_digits
from tflm_export.grid import Grid
from tflm_export.simulator import simulate

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(3)]
L = keras.layers
BELOW_OVERFLOW = float(np.nextafter(np.float32(2.0**127), np.float32(0)))


def network(x):
    x = networks.conv_bn(x, 4)
    x = L.LeakyReLU(0.34)(L.Add()([x, L.Conv2D(4, 3, padding="same")(x)]))
    return L.Dense(10)(L.GlobalAveragePooling2D()(x))


def quantized(**kwargs):
    model = networks.build(lambda: networks.functional(network))
    return keras_rat.quantize_model(model, **{"grid": "csd2"} | kwargs)


def compile_for_training(model):
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))


@pytest.fixture(scope="module", params=sampled(["requantize", "keep"], 2))
def trained(request, digits):
    model = quantized(method=request.param, learn_multipliers=True, multiplier_rate=8.0)
    keras_rat.calibrate(model, digits[0][:64])
    before = keras_rat.multipliers(model)
    compile_for_training(model)
    model.fit(digits[0][:64], digits[1][:64], batch_size=16, verbose=0)
    assert any(now.changed(then) for now, then in zip(keras_rat.multipliers(model), before, strict=True))
    return model


def snapped(values, bits, rounding):
    return CSD2.snap(tf.constant(values, tf.float32), bits, rounding).numpy().astype(np.float64)


@pytest.mark.parametrize("rounding", ["nearest", "up"])
def test_the_twin_is_the_exact_grid(rounding):
    """All over float32, and at points and middles of every octave with their neighbours."""
    powers = np.exp2(np.arange(-99, 126))[:, None]
    ends = np.concatenate([signed_digits._MANTISSAS, (np.arange(32) + 0.5) / 32])
    values = np.concatenate([np.exp2(np.random.default_rng(0).uniform(-100, 126, 20_000)), (powers * ends).ravel()])
    values = values.astype(np.float32)
    beside = [np.nextafter(values, np.float32(end)) for end in (0, np.inf)]
    noisy = [values * np.float32(1 + sign * 2.0**-exponent) for sign in (-1, 1) for exponent in (20, 21, 22)]
    values = np.concatenate([values, *beside, *noisy, np.float32([0, grid.SMALLEST, BELOW_OVERFLOW])])
    values = values[(values >= grid.SMALLEST) | (values == 0)]
    exact = signed_digits.CSD2.snap(values.astype(np.float64), rounding)
    np.testing.assert_array_equal(snapped(values, 4, rounding), exact)
    np.testing.assert_array_equal(snapped(values[:12].reshape(3, 2, 2), 4, rounding), exact[:12].reshape(3, 2, 2))


@pytest.mark.parametrize("rounding", ["nearest", "up"])
@settings(deadline=None)
@given(value=st.floats(grid.SMALLEST, BELOW_OVERFLOW, width=32), bits=st.integers(1, 31))
@example(value=BELOW_OVERFLOW, bits=4)
@example(value=1.375, bits=4)
def test_any_float_is_the_exporters(rounding, value, bits):
    """Above its own bits the family has multipliers of those, from which schedules come down."""
    assert CSD2.exact(bits) == (signed_digits.CSD2 if bits <= 4 else Grid(bits))
    assert snapped([value], bits, rounding)[0] == float(CSD2.exact(bits).snap(float(value), rounding))


def test_there_is_no_gradient():
    value = tf.Variable([0.3, 1.7])
    with tf.GradientTape() as tape:
        points = CSD2.snap(value, 4, "nearest")
    assert tape.gradient(points, value) is None
    with pytest.raises(ValueError, match="rounding must be nearest or up, got 'down'"):
        CSD2.snap(value, 4, "down")


def test_every_factor_of_the_file_is_on_the_grid(trained, digits):
    data = keras_rat.convert(trained)
    report = tflm_export.check(data, "csd2")
    assert report.offenders == ()
    factors = [f for operator in peer.operators(data) if operator.rescales for f in operator.factors]
    assert max(map(off_csd2, factors)) < 2.0**-21
    assert {*keras_rat.rescales.grids(trained).values()} == {signed_digits.CSD2}
    runtime = runtimes.LiteRT(data)
    inputs = runtimes.quantize_input(digits[2][:32], runtime.input)
    outputs = simulate(data, inputs, "tflite").outputs[0]
    scale, zero_point = runtime.output["quantization"]
    real = trained.predict(digits[2][:32], verbose=0)
    assert np.abs(scale * (outputs.astype(np.float64) - zero_point) - real).max() < 6 * scale


@pytest.mark.parametrize(("trained", "form"), [("requantize", "h5"), ("keep", "tf")], indirect=["trained"])
def test_saved_models_keep_it_by_name(trained, digits, tmp_path, form):
    trained.save(tmp_path / f"model.{form}", save_format=form)
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / f"model.{form}")
    assert {*keras_rat.rescales.grids(loaded).values()} == {signed_digits.CSD2}
    np.testing.assert_array_equal(loaded(digits[2][:32]), trained(digits[2][:32]))


@pytest.mark.slow
@pytest.mark.parametrize(("stages", "first"), sampled([({0: 0.5, 1: 1.0}, {4, 31}), ({0: 8, 1: 1}, {8})], 2))
def test_a_schedule_comes_down_to_it_from_wider_multipliers(digits, stages, first):
    model = quantized()
    keras_rat.calibrate(model, digits[0][:64])
    compile_for_training(model)
    seen = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(keras_rat.multipliers(model)))
    schedule = callbacks.SnappingSchedule(stages)
    model.fit(digits[0][:64], digits[1][:64], batch_size=16, epochs=2, verbose=0, callbacks=[schedule, look])
    assert {int(bits) for layer in seen[0] for bits in layer.bits} == first
    assert any(not signed_digits.CSD2.contains(layer.value).all() for layer in seen[0])
    for layer in seen[0]:
        for bits, value in zip(layer.bits, layer.value, strict=True):
            assert CSD2.exact(int(bits)).contains(value)
    assert all((layer.bits == 4).all() and signed_digits.CSD2.contains(layer.value).all() for layer in seen[-1])
    assert tflm_export.check(keras_rat.convert(model), "csd2").offenders == ()


@pytest.mark.slow
def test_early_stopping_measures_the_narrow_model(digits):
    model = quantized(method="keep")
    keras_rat.calibrate(model, digits[0][:64])
    compile_for_training(model)
    watch = callbacks.NarrowEarlyStopping(digits[2][:64], digits[3][:64], restore_best_weights=True)
    schedule = callbacks.SnappingSchedule({1: 4})
    history = model.fit(digits[0][:64], digits[1][:64], epochs=2, verbose=0, callbacks=[schedule, watch])
    data = keras_rat.convert(model)
    runtime = runtimes.LiteRT(data)
    outputs = runtimes.run_all(runtime, runtimes.quantize_input(digits[2][:64], runtime.input))
    assert max(history.history["val_narrow_accuracy"]) == pytest.approx((outputs.argmax(1) == digits[3][:64]).mean())
    assert tflm_export.check(data, "csd2").offenders == ()


def test_bits_beside_it_are_refused(digits):
    for bits in (4, 8, {".*": 4}):
        with pytest.raises(ValueError, match=r"grid csd2 stands in place of bits; leave one of them out, got bits"):
            quantized(bits=bits)
    annotated = keras.Sequential([keras_rat.quantize_annotate_layer(L.Dense(3, name="wide", input_shape=(4,)), bits=8)])
    with pytest.raises(ValueError, match=r"layers wide are annotated with bits, of which grid csd2 has none"):
        keras_rat.quantize_apply(annotated, grid="csd2")
    with pytest.raises(ValueError, match=r"grid must be one of k_bits, csd2"):
        quantized(grid="csd3")
    assert set(keras_rat.widths(quantized()).values()) == {4}
