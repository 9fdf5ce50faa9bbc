# SPDX-License-Identifier: Apache-2.0
"""Activations near zero: dead layers, deep random networks. Files are on the grid, and LiteRT and TFLM take them."""

import numpy as np
import pytest
import tf_keras as keras

import keras_rat
import tflm_export
from keras_rat import small_ranges, tfmot_internals, wiring
from tflm_export import ModelError, runtimes
from tflm_export.flatbuffer.model import parse

pytestmark = pytest.mark.sweep(3)

L = keras.layers


def dead_relu():
    """All outputs of the first layer are 0: its biases are far below anything its inputs can give."""
    first = L.Conv2D(
        4, 3, activation="relu", input_shape=(8, 8, 1), bias_initializer=keras.initializers.Constant(-10.0)
    )
    return keras.Sequential([first, L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3)])


def bias_behind_dead_relu():
    model = dead_relu()
    model.layers[-1].bias.assign([1.0, 20.0, -300.0])
    return model


def deep():
    """20 layers, each a fifth of the one before: 1e-14 in the end."""
    small = [keras.initializers.RandomNormal(stddev=0.05, seed=seed) for seed in range(20)]
    layers = [L.Dense(16, activation="relu", kernel_initializer=each) for each in small]
    return keras.Sequential([keras.Input((16,)), *layers])


def dead_branch():
    """An addition, a global pooling and a batch normalisation of what is dead."""
    inputs = keras.Input((8, 8, 1))
    low = keras.initializers.Constant(-10.0)
    x = L.Conv2D(4, 3, padding="same")(inputs)
    dead = L.Conv2D(4, 3, padding="same", activation="relu", bias_initializer=low)(x)
    dead = L.BatchNormalization(beta_initializer="ones")(L.Conv2D(4, 1, use_bias=False)(dead))
    x = L.Add()([x, L.ReLU()(L.Conv2D(4, 1, bias_initializer=low)(dead))])
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def mobilenet():
    """Random weights: its last layers give less than 1e-6."""
    return keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=10)


def separable():
    """tfmot's own test of stacked SeparableConv1D."""
    layers = [L.SeparableConv1D(3, 3, padding="same", activation="relu") for _ in range(8)]
    return keras.Sequential([keras.Input((8, 2)), *layers, L.Flatten(), L.Dense(3)])


FORMS = ((1, "requantize"), (8, "keep"))
CASES = [(bias_behind_dead_relu, *form) for form in FORMS]
CASES += [(build, *FORMS[0]) for build in (dead_relu, dead_branch, separable)]
CASES += [
    pytest.param(deep, *FORMS[1], marks=pytest.mark.slow),
    pytest.param(mobilenet, 4, "requantize", marks=pytest.mark.slow),
]


def calibrated(build, bits, method="requantize", spread=1.0):
    keras.utils.set_random_seed(0)
    model = build()
    rows = np.random.default_rng(0).uniform(-spread, spread, (64, *model.input_shape[1:])).astype(np.float32)
    quantised = keras_rat.quantize_model(model, bits, method)
    keras_rat.calibrate(quantised, rows)
    return model, quantised, rows


def dequantised(data: bytes, rows, runtime) -> tuple[np.ndarray, float]:
    """A runtime's outputs as real numbers, and their step."""
    (output,) = parse(data).subgraphs[0].outputs
    integers = runtimes.run_all(runtime, runtimes.quantize_input(rows, runtimes.LiteRT(data).input))
    return (integers.astype(np.float64) - output.zero_point) * output.scale, output.scale


@pytest.mark.parametrize(("build", "bits", "method"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_files_are_narrow_and_run(build, bits, method):
    model, quantised, rows = calibrated(build, bits, method)
    data = keras_rat.convert(quantised)
    assert not tflm_export.check(data, bits).offenders
    expected = model.predict(rows, verbose=0)
    for runtime in (runtimes.LiteRT(data), runtimes.LiteRT(data, reference=True), runtimes.TFLM(data)):
        outputs, scale = dequantised(data, rows, runtime)
        assert np.abs(outputs - expected).max() <= max(20 * scale, 1e-5)


def test_ordinary_ranges_stay():
    """Of a network without dead layers none changes."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16,)), L.Dense(16, activation="relu"), L.Dense(3)])
    quantised = keras_rat.quantize_model(model, 8)
    keras_rat.calibrate(quantised, np.random.default_rng(0).uniform(-1, 1, (64, 16)).astype(np.float32))
    before = {range_.owner: float(range_.span()) for range_ in wiring.own_ranges(quantised)}
    small_ranges.widen(quantised)
    assert {range_.owner: float(range_.span()) for range_ in wiring.own_ranges(quantised)} == before


def test_a_bias_that_training_made_too_large_is_named():
    _, quantised, _ = calibrated(dead_relu, 1)
    quantised.layers[-1].layer.bias.assign([0.0, 1.0, 1000.0])
    with pytest.raises(
        ModelError, match=r"beyond 2\^30 units of their accumulators.*quant_dense\w*: 2\^\d\d; calibrate"
    ):
        keras_rat.convert(quantised)


def test_a_schedule_that_has_not_come_to_its_end_is_named():
    _, quantised, _ = calibrated(bias_behind_dead_relu, 1)
    for layer in keras_rat.rescale_layers(quantised):
        for _, quantizer, variables in tfmot_internals.quantized_weights(layer):
            variables["bits"].assign(0 * variables["bits"] + 8)
            quantizer.set_multiplier(variables, 1.375 * quantizer.multiplier(layer.layer.kernel, variables).numpy())
    with pytest.raises(ModelError, match=r"SnappingSchedule of quant_conv2d.* has not reached its last stage"):
        keras_rat.convert(quantised)
