# SPDX-License-Identifier: Apache-2.0
"""Real data sets: scikit-learn's bundled digits, and larger ones where a data folder is present."""

import dataclasses
import io
import itertools
import os
import pathlib

import numpy as np

from tflm_export import UsageError

DATA_VARIABLE = "KERAS_RAT_DATA"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows for training and rows for measuring.

    Attributes:
      name: short name.
      x_train, x_test: float32 [rows, ...].
      y_train, y_test: int64 [rows], class indices.
      groups: int64 [training rows], who made a row, where rows of one person are alike; else None.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    groups: np.ndarray | None = None


def data_folder() -> pathlib.Path | None:
    """The folder of larger data sets and models, which $KERAS_RAT_DATA names; None where that is not set.

    Raises:
      UsageError: there is no such folder.
    """
    name = os.environ.get(DATA_VARIABLE)
    if not name:
        return None
    if not os.path.isdir(name):
        raise UsageError(f"{DATA_VARIABLE} names no folder: {name}; correct it, or unset it to go without the data")
    return pathlib.Path(name)


def digits(test_fraction: float = 0.4) -> Dataset:
    """Handwritten digits of 8x8 pixels from 43 writers, 10 classes, 1,797 rows (UCI, bundled with scikit-learn).

    Pixels are scaled to 0..1. The split is stratified and always the same.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=test_fraction, random_state=0, stratify=labels
    )
    return Dataset("digits", x_train, y_train, x_test, y_test)


def spoken_digits() -> Dataset:
    """MFCCs [49, 10, 1] of spoken digits, 10 classes (Free Spoken Digit Dataset), standardised over the train rows."""
    arrays = load("fsdd_mfcc")
    x_train, x_test = (arrays[name].astype(np.float32) for name in ("x_train", "x_test"))
    mean, deviation = x_train.mean(axis=(0, 1)), x_train.std(axis=(0, 1))
    x_train, x_test = (((x - mean) / deviation).astype(np.float32) for x in (x_train, x_test))
    return Dataset("fsdd_mfcc", x_train, _labels(arrays["y_train"]), x_test, _labels(arrays["y_test"]))


def activity(device: str) -> Dataset:
    """Human activity [64, 1, 6] from the accelerometer and gyroscope of a phone ("sp") or watch ("sw"), 5 classes.

    Train and test rows are of different people (Matey-Sanz et al., Data in Brief 2023, 109809).
    """
    arrays = load(f"har_{device}")
    x_train, x_test = (
        (arrays[name].astype(np.float32) / arrays["suggested_divisor"])[:, :, None] for name in ("x_train", "x_test")
    )
    y_train, y_test = _labels(arrays["y_train"]), _labels(arrays["y_test"])
    return Dataset(f"har_{device}", x_train, y_train, x_test, y_test, arrays["subject_train"].astype(np.int64))


def mnist() -> Dataset:
    """Handwritten digits of 28x28 pixels, 0..1: 6,000 training and 2,002 test rows of MNIST, 10 classes."""
    arrays = load("mnist")
    x_train, x_test = (arrays[name][..., None].astype(np.float32) / 255 for name in ("x_train", "x_test"))
    return Dataset("mnist", x_train, _labels(arrays["y_train"]), x_test, _labels(arrays["y_test"]))


def cifar10() -> Dataset:
    """Photographs of 32x32 pixels, -1..1, in 10 classes: 20,000 training and 5,000 test rows of CIFAR-10, as JPEG.

    The JPEG copy is harder than the original by several points of accuracy.
    """
    from PIL import Image

    train, test = load("cifar10_jpeg_train20k"), load("cifar10_jpeg_test")
    starts, jpeg = train["offsets"], train["jpeg"]
    files = (jpeg[start:end].tobytes() for start, end in itertools.pairwise(starts))
    images = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    x_train, x_test = (x.astype(np.float32) / 127.5 - 1 for x in (images, test["images"]))
    return Dataset("cifar10_jpeg", x_train, _labels(train["labels"]), x_test, _labels(test["labels"]))


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of an archive of the data folder by name.

    Raises:
      UsageError: there is no data folder.
      FileNotFoundError: it has no such archive.
    """
    folder = data_folder()
    if folder is None:
        raise UsageError(f"no data folder for {name}; set {DATA_VARIABLE}")
    with np.load(folder / "data" / f"{name}.npz") as arrays:
        return dict(arrays)


def _labels(classes: np.ndarray) -> np.ndarray:
    return classes.astype(np.int64)
