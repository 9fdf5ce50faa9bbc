# SPDX-License-Identifier: Apache-2.0
"""One network of Keras's applications through keras_rat, for benchmarks.applications, in a process of its own."""

import dataclasses
import importlib
import json
import time
from typing import Any

import numpy as np

from benchmarks.efficientnet_lite import efficientnet_lite0

CROPS, TEST_CROPS, CLASSES = 64, 64, 10
LITE = "EfficientNetLite0"  # the one that is not Keras's
OFFSET = 2.0  # of normalised values, in their standard deviations: few are below 0


@dataclasses.dataclass(frozen=True)
class Application:
    """A network, made small.

    Attributes:
      pixels: height and width of its images; the smallest that it takes, or 32.
      raw: whether it takes 0..255, else -1..1.
      versions: the versions of Keras that have it.
      arguments: of its constructor, besides those of all.
    """

    pixels: int = 32
    raw: bool = False
    versions: str = "23"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


APPLICATIONS = {
    "MobileNet": Application(arguments={"alpha": 0.25}),
    "MobileNetV2": Application(arguments={"alpha": 0.35}),
    "MobileNetV3Small": Application(raw=True, arguments={"alpha": 0.75}),
    "MobileNetV3Large": Application(raw=True, arguments={"alpha": 0.75}),
    "EfficientNetB0": Application(raw=True),
    LITE: Application(),
    "EfficientNetV2B0": Application(raw=True),
    "ResNet50": Application(),
    "ResNet50V2": Application(),
    "DenseNet121": Application(),
    "NASNetMobile": Application(),
    "Xception": Application(71),
    "InceptionV3": Application(75),
    "InceptionResNetV2": Application(75),
    "VGG16": Application(),
    "VGG19": Application(),
    "RegNetX002": Application(versions="2", raw=True),
    "RegNetY002": Application(versions="2", raw=True),
    "ResNetRS50": Application(versions="2", raw=True),
    "ConvNeXtTiny": Application(raw=True),
}


def crops(pixels: int, count: int, seed: int) -> np.ndarray:
    """Squares cut out of scikit-learn's two photographs; float32 [count, pixels, pixels, 3], 0 to 255."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(seed)
    photographs = load_sample_images().images
    found = []
    for number in range(count):
        image = photographs[number % len(photographs)]
        y, x = (random.integers(0, size - pixels) for size in image.shape[:2])
        found.append(image[y : y + pixels, x : x + pixels])
    return np.stack(found).astype(np.float32)


def build(keras, name: str):
    """The network with random weights; batch normalisations follow the images of `settle`."""
    application = APPLICATIONS[name]
    shape = (application.pixels, application.pixels, 3)
    keras.utils.set_random_seed(0)
    if name == LITE:
        return efficientnet_lite0(keras, shape, CLASSES)
    return getattr(keras.applications, name)(
        weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None, **application.arguments
    )


def settle(model, images: np.ndarray) -> None:
    """Gives every batch normalisation an offset of 2, and the statistics of images, as training does.

    With other statistics a deep network of random weights computes the same for all images. With an offset of 0 it is
    chaotic: normalised random layers with ReLU make differences larger, by about 1.2 each (arXiv 1902.08129), so that
    one integer that is rounded otherwise changes every output, and files could not be told from broken ones.
    """
    norms = [layer for layer in _layers(model) if hasattr(layer, "moving_variance")]
    dropouts = [layer for layer in _layers(model) if hasattr(layer, "rate")]
    for norm in norms:
        if norm.center:
            norm.beta.assign(np.full(norm.beta.shape, OFFSET))
    kept = [(norm, "momentum", norm.momentum) for norm in norms] + [(drop, "rate", drop.rate) for drop in dropouts]
    for layer, attribute, _ in kept:
        setattr(layer, attribute, 0.0)
    model(images, training=True)
    for layer, attribute, value in kept:
        setattr(layer, attribute, value)


def _layers(model) -> list:
    """At any depth."""
    return [inner for layer in model.layers for inner in (_layers(layer) if hasattr(layer, "layers") else [layer])]


def sqnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Signal to noise in dB, the signal being what differs from row to row; [rows, classes] both."""
    signal = ((wanted - wanted.mean(0)) ** 2).mean()
    return float(10 * np.log10(signal / max(((found - wanted) ** 2).mean(), 1e-30)))


class Run:
    """What is found of one network, printed as it comes."""

    def __init__(self, name: str):
        self.found: dict[str, Any] = {"pixels": APPLICATIONS[name].pixels, "seconds": {}}

    def add(self, **more) -> None:
        self.found |= more
        print(json.dumps(self.found), flush=True)

    def timed(self, step: str, function, *arguments):
        """The function's result; its seconds are noted."""
        started = time.perf_counter()
        result = function(*arguments)
        self.found["seconds"][step] = round(time.perf_counter() - started, 1)
        self.add()
        return result


def run(version: str, name: str, bits: int, method: str) -> None:
    """Measures a network and prints what is found as JSON, more in each line.

    Args:
      version: "2" for tf_keras, "3" for Keras 3.
      name: of `APPLICATIONS`.
      bits, method: as of `quantize_model`.
    """
    tf_keras = importlib.import_module("tf_keras")
    keras = tf_keras if version == "2" else importlib.import_module("keras")
    import keras_rat
    from tflm_export import ModelError, check

    noted = Run(name)
    if name != LITE and not hasattr(keras.applications, name):
        noted.add(absent="not in this version")
        return
    application = APPLICATIONS[name]
    images = crops(application.pixels, CROPS + TEST_CROPS, 0)
    images = images if application.raw else images / 127.5 - 1
    known, others = images[:CROPS], images[CROPS:]
    model = build(keras, name)
    settle(model, known)
    noted.add(parameters=model.count_params())
    wanted = np.asarray(model.predict(others, verbose=0))
    try:
        if version == "3":
            model = noted.timed("rebuild", keras_rat.from_keras3, model)
            apart = np.abs(model.predict(others, verbose=0) - wanted).max() / np.abs(wanted).max()
            noted.add(rebuilt=float(apart))
        quantized = noted.timed("quantize", keras_rat.quantize_model, model, bits, method)
        noted.timed("calibrate", keras_rat.calibrate, quantized, known)
        data = noted.timed("convert", keras_rat.convert, quantized)
    except (ValueError, ModelError) as error:
        noted.add(refused=" ".join(str(error).split()))
        return
    rows = noted.timed("check", check, data, bits).rows
    noted.add(wide=[row.label for row in rows if not row.narrow], bytes=len(data))
    noted.add(**agreement(data, quantized.predict(others, verbose=0), wanted, others))


def agreement(data: bytes, fake: np.ndarray, wanted: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    """How a file agrees with the fake-quantised outputs that it was made for, and with those of the float network.

    LiteRT's two sets of kernels round otherwise, of the same file: what they are apart is what a network makes of that.

    Args:
      data: the .tflite file.
      fake, wanted: float [rows, classes].
      images: what these are of.
    """
    from tflm_export import runtimes

    runtime = runtimes.LiteRT(data, reference=True)
    scale, zero_point = runtime.output["quantization"]
    rows = runtimes.quantize_input(images, runtime.input)
    integers, others = (each.run(rows).astype(int) for each in (runtime, runtimes.LiteRT(data)))
    apart = np.abs(integers - np.clip(np.rint(fake / scale) + zero_point, -128, 127))
    found = (integers - zero_point) * scale
    return {
        "kernels": sqnr((others - zero_point) * scale, found),
        "most": int(apart.max()),
        "beyond": float((apart > 1).mean()),
        "sqnr": sqnr(found, wanted),
        "fake_sqnr": sqnr(fake, wanted),
        "together": sqnr(found, fake),
        "same": float((found.argmax(1) == wanted.argmax(1)).mean()),
    }
