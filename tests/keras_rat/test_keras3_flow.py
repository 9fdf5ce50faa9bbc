# SPDX-License-Identifier: Apache-2.0
"""From a model of Keras 3 to a narrowed file, and Keras's own networks.

`make keras-applications` (KERAS_APPLICATIONS in the environment) takes all networks below, the gate only the first.
"""

import os
import subprocess
import time

import numpy as np
import pytest

import keras_rat
from tests.helpers.command import command, environment
from tests.helpers.keras3 import assert_equal_outputs, keras, shake
from tests.helpers.litert import LiteRT

L = keras.layers
ALL = "KERAS_APPLICATIONS" in os.environ
# Networks of keras.applications, at sizes of images that they take.
APPLICATIONS = {
    "MobileNet": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "MobileNetV2": 32,
    "MobileNetV3Large": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}


def application(name, **arguments):
    keras.utils.set_random_seed(0)
    shape = (APPLICATIONS[name], APPLICATIONS[name], 3)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=shape, classes=10, classifier_activation=None, **arguments)
    shake(model)
    return model


@pytest.mark.parametrize("name", list(APPLICATIONS) if ALL else list(APPLICATIONS)[:1])
def test_applications_compute_what_they_did(name):
    model = application(name)
    started = time.process_time()
    new = keras_rat.from_keras3(model)
    seconds = time.process_time() - started
    rows = np.random.default_rng(0).uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    difference = assert_equal_outputs(model, new, rows)
    print(f"| {name} | {model.count_params():,} | {difference:.1e} | {seconds:.1f} |")


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


@pytest.mark.skipif(not ALL, reason="takes half a minute: make keras-applications")
def test_mobilenet_of_keras_3_becomes_a_narrowed_file(tmp_path):
    model = application("MobileNet", alpha=0.25)
    rows = np.random.default_rng(0).uniform(0, 1, (16, *model.input_shape[1:])).astype(np.float32)
    file = files_that_pass_the_check(model, rows, tmp_path / "mobilenet.tflite", bits=4)
    scale, zero_point = file.output["quantization"]
    theirs = np.asarray(model(rows, training=False))
    ours = (file.run(rows).astype(np.float64) - zero_point) * scale
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
