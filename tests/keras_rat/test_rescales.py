# SPDX-License-Identifier: Apache-2.0
"""keras_rat.rescale_layers, widths and multipliers against numpy on the float network's own weights."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
from tests.helpers import networks
from tests.helpers.litert import off_grid

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
        assert m.changed(m) == 0


def test_multipliers_of_another_model(float_model):
    with pytest.raises(ValueError, match=r"no layers with k-bit rescales.*quantize_model"):
        keras_rat.multipliers(float_model)
