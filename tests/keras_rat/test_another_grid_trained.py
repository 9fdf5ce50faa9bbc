# SPDX-License-Identifier: Apache-2.0
"""A grid that is not one of k-bit multipliers is trained with: quantizers ask a family, and know no bits."""

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
import tflm_export
from keras_rat import grid, wiring
from tests.helpers import networks, peer
from tests.helpers.signed_digits import ThreeDigits, off_three_digits
from tests.helpers.sweeps import sampled
from tflm_export.grid import Grid

pytestmark = [pytest.mark.arithmetic, pytest.mark.sweep(3)]
L = keras.layers


class ThreeDigitsFamily:
    """Three signed digits, whatever the width."""

    name = "three_signed_digits"

    def snap(self, factor, bits, rounding):
        points = tf.constant(ThreeDigits.points, tf.float32)
        power = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(factor, tf.int32), 0x7F800000), tf.float32)
        mantissa = tf.math.divide_no_nan(factor, power)  # in [1, 2)
        above = tf.maximum(tf.searchsorted(points, mantissa), 1)
        low, high = tf.gather(points, above - 1), tf.gather(points, above)
        nearest = tf.where(high - mantissa <= mantissa - low, high, low)
        stays = (rounding == "nearest") | (tf.abs(nearest - mantissa) <= 2.0**-22 * mantissa)
        return tf.where(stays, nearest, high) * power

    def exact(self, bits):
        return ThreeDigits()


FAMILY = grid.register(ThreeDigitsFamily())


def network(x):
    x = networks.conv_bn(x, 4)
    x = L.LeakyReLU(0.34)(L.Add()([x, L.Conv2D(4, 3, padding="same")(x)]))
    return L.Dense(10)(L.GlobalAveragePooling2D()(x))


def quantized(**kwargs):
    return keras_rat.quantize_model(networks.build(lambda: networks.functional(network)), **kwargs)


@pytest.fixture(scope="module", params=sampled(["requantize", "keep"], 2))
def trained(request, digits):
    model = quantized(method=request.param, learn_multipliers=True, multiplier_rate=8.0, grid=FAMILY)
    keras_rat.calibrate(model, digits[0][:64])
    before = keras_rat.multipliers(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(digits[0][:64], digits[1][:64], batch_size=16, verbose=0)
    assert any(now.changed(then) for now, then in zip(keras_rat.multipliers(model), before, strict=True))
    return model


@pytest.mark.parametrize("rounding", ["nearest", "up"])
def test_the_twin_is_the_exact_grid(rounding):
    random = np.random.default_rng(0)
    factors = np.exp2(random.uniform(-100, 100, 20_000)).astype(np.float32)
    points = ThreeDigits().snap(factors[:5_000]).astype(np.float32)
    around = [np.nextafter(points, np.float32(0)), points, np.nextafter(points, np.float32(np.inf))]
    factors = np.concatenate([factors, *around, points * np.float32(1 + 2.0**-20), np.float32([0, grid.SMALLEST])])
    snapped = FAMILY.snap(tf.constant(factors), 4, rounding).numpy()
    np.testing.assert_array_equal(snapped, FAMILY.exact(4).snap(factors.astype(np.float64), rounding))


@pytest.mark.slow
def test_every_factor_of_the_file_is_on_the_grid(trained):
    data = keras_rat.convert(trained)
    assert tflm_export.check(data, ThreeDigits()).offenders == ()
    factors = [f for operator in peer.operators(data) if operator.rescales for f in operator.factors]
    assert max(map(off_three_digits, factors)) < 2.0**-21
    assert tflm_export.check(data, 2).offenders  # and on no narrow one by chance


@pytest.mark.slow
@pytest.mark.parametrize("form", ["h5", "tf"])
def test_saved_models_keep_it_by_name(trained, digits, tmp_path, form):
    trained.save(tmp_path / f"model.{form}", save_format=form)
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / f"model.{form}")
    assert {*keras_rat.rescales.grids(loaded).values()} == {ThreeDigits()}
    np.testing.assert_array_equal(loaded(digits[2][:32]), trained(digits[2][:32]))


@pytest.mark.slow
def test_what_is_off_the_grid_is_named(digits):
    model = quantized(grid=FAMILY)
    keras_rat.calibrate(model, digits[0][:64])
    (added,) = (range_ for range_ in wiring.own_ranges(model) if range_.owner == "quant_add")
    added.high.assign(added.high * 1.1)
    with pytest.raises(ValueError, match=r"ADD \(.*\): \d+ bits, not three signed digits"):
        keras_rat.convert(model)


def test_annotated_models_take_it_too():
    annotated = keras_rat.quantize_annotate_model(networks.build(lambda: networks.functional(network)))
    model = keras_rat.quantize_apply(annotated, grid=FAMILY.name)
    assert {*keras_rat.rescales.grids(model).values()} == {ThreeDigits()}


def test_files_from_before_have_k_bits(digits, tmp_path):
    model = quantized(bits=3)
    keras_rat.calibrate(model, digits[0][:64])
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        text = file.attrs["model_config"]
        older = text.replace(f', "grid": "{grid.K_BITS.name}"', "")
        assert '"grid"' in text
        assert '"grid"' not in older
        file.attrs["model_config"] = older
    with keras_rat.quantize_scope():
        loaded = keras.models.load_model(tmp_path / "model.h5")
    assert {*keras_rat.rescales.grids(loaded).values()} == {Grid(3)}
    np.testing.assert_array_equal(loaded(digits[2][:32]), model(digits[2][:32]))


@pytest.mark.parametrize("unknown", ["four_signed_digits", ThreeDigits()])
def test_other_grids_are_refused(unknown):
    with pytest.raises(ValueError, match=r"grid must be one of k_bits, .*three_signed_digits.*, got .*register"):
        quantized(grid=unknown)
