"""Real data sets: scikit-learn's bundled digits, and larger ones where a data folder is present."""

import dataclasses
import os
import pathlib

import numpy as np

DATA_VARIABLE = "KERAS_RAT_DATA"
_BESIDE_CHECKOUT = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows for training and rows for measuring.

    Attributes:
      name: short name.
      x_train, x_test: float32 [rows, ...].
      y_train, y_test: int64 [rows], class indices.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def data_folder() -> pathlib.Path | None:
    """The folder of larger data sets and models: $KERAS_RAT_DATA, else ../shared/data, else None."""
    folder = pathlib.Path(os.environ.get(DATA_VARIABLE) or _BESIDE_CHECKOUT)
    return folder if folder.is_dir() else None


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
