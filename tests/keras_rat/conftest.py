# SPDX-License-Identifier: Apache-2.0
"""The digits of scikit-learn as 8x8 images; the small networks and the LiteRT judge live beside this file."""

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """(training images, labels, test images, labels); images float32 [rows, 8, 8, 1] in 0..1."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    return images[:1200], labels[:1200], images[1200:], labels[1200:]
