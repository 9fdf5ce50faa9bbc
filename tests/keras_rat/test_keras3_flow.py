# SPDX-License-Identifier: Apache-2.0
"""From a model of Keras 3 to a narrowed file."""

import subprocess

import numpy as np

import keras_rat
from tests.helpers.command import command, environment
from tests.helpers.keras3 import assert_equal_outputs, keras, shake
from tests.helpers.litert import LiteRT

L = keras.layers


def test_mobilenet_computes_what_it_did():
    """The other networks of keras.applications: make keras-applications."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), classes=10, alpha=0.25)
    shake(model)
    new = keras_rat.from_keras3(model)
    rows = np.random.default_rng(0).uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    assert_equal_outputs(model, new, rows)


def files_that_pass_the_check(model, rows, path, **arguments):
    quantized = keras_rat.quantize_model(model, **arguments)
    keras_rat.calibrate(quantized, rows)
    path.write_bytes(keras_rat.convert(quantized))
    checked = subprocess.run(
        command("--check", "--bits", str(arguments["bits"]), str(path)),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return LiteRT(path.read_bytes())


def test_a_network_of_keras_3_becomes_a_narrowed_file(digits, tmp_path):
    """Its labels for digits that it has not seen are mostly those of the float network."""
    keras.utils.set_random_seed(0)
    steps = [L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(momentum=0.8), L.Activation("relu")]
    steps += [L.MaxPooling2D(), L.Conv2D(16, 3), L.LeakyReLU(0.1), L.Dropout(0.1), L.Flatten(), L.Dense(10)]
    model = keras.Sequential(steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(digits[0], digits[1], batch_size=64, epochs=4, verbose=0)
    file = files_that_pass_the_check(model, digits[0][:300], tmp_path / "digits.tflite", bits=2)
    labels = np.asarray(model(digits[2], training=False)).argmax(1)
    assert (labels == digits[3]).mean() > 0.9
    assert (file.run(digits[2]).argmax(1) == labels).mean() > 0.97
