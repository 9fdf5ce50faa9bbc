# SPDX-License-Identifier: Apache-2.0
"""keras_rat.rescale_layers, widths and multipliers against numpy on the float network's own weights."""

import dataclasses

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from tests.helpers import networks
from tests.helpers.litert import off_grid
from tflm_export import UsageError

L = keras.layers


@pytest.fixture(scope="module")
def float_model():
    def build(x):
        x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(L.Conv2D(4, 3, use_bias=False, name="stem")(x)))
        x = L.Add(name="sum")([x, L.Conv2D(4, 1, activation="relu", name="branch")(x)])
        x = L.LeakyReLU(0.25, name="leaky")(x)
        return L.Dense(10, name="head")(L.GlobalAveragePooling2D(name="mean")(x))

    return networks.build(lambda: networks.functional(build))


@pytest.fixture(scope="module")
def model(float_model, digits):
    quantized = keras_rat.quantize_model(float_model, {"head": 8, "sum": 3, ".*": 2})
    keras_rat.calibrate(quantized, digits[0][:64])
    return quantized


def test_rescale_layers(model, float_model):
    layers = keras_rat.rescale_layers(model)
    assert [layer.name for layer in layers] == ["quant_stem", "quant_branch", "quant_head"]
    assert [type(layer.layer) for layer in layers] == [L.Conv2D, L.Conv2D, L.Dense]
    assert keras_rat.rescale_layers(float_model) == []


def test_widths(model, float_model):
    expected = {"stem": 2, "branch": 2, "sum": 3, "leaky": 2, "mean": 2, "head": 8}
    assert keras_rat.widths(model) == {f"quant_{name}": bits for name, bits in expected.items()}
    assert keras_rat.widths(float_model) == {}


def test_multipliers(model, float_model):
    """M = Sx * max|w| / 127 * |gamma / sigma| / Sy, and M_q the next number with the layer's width."""
    scales = {name: (high - low) / 255 for name, (low, high) in networks.ranges(model).items()}
    norm = float_model.get_layer("norm")
    gain = np.abs(norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon))
    neighbours = {"stem": ("quantize_layer", "quant_relu"), "branch": ("quant_relu", "quant_branch")}
    neighbours["head"] = "quant_mean", "quant_head"
    found = keras_rat.multipliers(model)
    assert [m.layer for m in found] == [f"quant_{name}" for name in neighbours]
    for m, (name, (source, target)) in zip(found, neighbours.items(), strict=True):
        kernel = np.abs(float_model.get_layer(name).kernel.numpy())
        stock = kernel.max((0, 1, 2)) / 127 if kernel.ndim == 4 else kernel.max().reshape(1) / 127
        expected = scales[source] * stock * (gain if name == "stem" else 1) / scales[target]
        np.testing.assert_allclose(m.factor, expected, rtol=1e-5)
        np.testing.assert_array_equal(m.bits, [keras_rat.widths(model)[m.layer]] * len(stock))
        assert m.factor.shape == m.value.shape == m.bits.shape == stock.shape
        assert (m.factor.dtype, m.value.dtype, m.bits.dtype) == (np.float64, np.float64, np.int32)
        assert max(off_grid(v, b) for v, b in zip(m.value, m.bits, strict=True)) < 1e-6
        assert (m.value >= m.factor * (1 - 1e-6)).all()
        assert m.rescale_error == pytest.approx(np.mean(m.value / m.factor - 1), abs=1e-6)
        assert (m.changed(m), m.moved(m)) == (0, 0)


def test_before_calibration_they_follow_the_weights(float_model, model):
    """Up to grid points, with `requantize`: of two bits 2 and 3 of an octave, which float32 rounding does not leave."""
    for m in keras_rat.multipliers(keras_rat.quantize_model(float_model, 2)):
        assert m.phase is keras_rat.Phase.WAITING
        np.testing.assert_array_equal(m.unsnapped, m.factor)
        octave = np.exp2(np.floor(np.log2(m.factor)))[:, None] * [0.75, 1, 1.5, 2, 3]
        expected = np.abs(np.log2(m.factor[:, None] / octave)).min(1)
        np.testing.assert_allclose(m.distance, expected, atol=1e-6)
    assert keras_rat.Phase.WAITING not in {m.phase for m in keras_rat.multipliers(model)}


def test_set_multipliers_are_their_variables(model):
    """At grid points: log2(4/3) or log2(3/2) octaves from halfway to the next at 1 bit, so much less at more."""
    for m in keras_rat.multipliers(model):
        np.testing.assert_allclose(m.unsnapped, m.value, rtol=1e-5)
        scaled = np.frexp(m.value)[0] * 2.0**m.bits
        below = np.log2(scaled / (scaled - np.where(scaled == 2.0 ** (m.bits - 1), 0.25, 0.5)))
        np.testing.assert_allclose(m.distance, np.minimum(below, np.log2((scaled + 0.5) / scaled)), atol=1e-5)
        assert m.distance.dtype == m.unsnapped.dtype == np.float64
        assert m.distance.shape == m.unsnapped.shape == m.value.shape
        assert m.rate == 1.0


def test_distance_to_decision_is_of_those_that_stay_and_learn(model):
    m = dataclasses.replace(keras_rat.multipliers(model)[0], distance=np.array([0.1, 0.3, 0.2, 0.5]))
    m = dataclasses.replace(m, phase=keras_rat.Phase.LEARNING)
    before = dataclasses.replace(m, value=m.value * [2, 1, 1, 0.5])
    assert m.moved(before) == 2
    assert m.changed(before) == 0.5
    assert m.distance_to_decision(before) == 0.2
    assert m.distance_to_decision(dataclasses.replace(m, value=m.value * 2)) == np.inf
    frozen = dataclasses.replace(m, phase=keras_rat.Phase.FROZEN)
    assert frozen.distance_to_decision(before) == np.inf


def test_multipliers_of_another_model(float_model):
    with pytest.raises(ValueError, match=r"no layers with k-bit rescales.*quantize_model"):
        keras_rat.multipliers(float_model)


@pytest.mark.parametrize("function", [keras_rat.convert, lambda model: keras_rat.calibrate(model, np.zeros((1, 2)))])
def test_what_is_no_model_is_named(function):
    with pytest.raises(UsageError, match=r"model must be one from keras_rat\.quantize_model, got NoneType"):
        function(None)
