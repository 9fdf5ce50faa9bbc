# SPDX-License-Identifier: Apache-2.0
"""Keras 3, and models of it beside the same rebuilt in tf_keras."""

import importlib

import numpy as np

keras = importlib.import_module("keras")  # not `import keras`, which elsewhere in these tests is tf_keras
TOLERANCE = 2e-6  # of the largest output


def shake(model):
    """Gives weights that start at 0 or 1, biases and statistics among them, values of their own."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = weight.numpy()
        if weight.dtype == "float32" and value.min() == value.max():
            positive = "variance" in weight.path or "gamma" in weight.path
            weight.assign(rng.uniform(0.5, 1.5, value.shape) if positive else rng.normal(0, 0.1, value.shape))


def assert_equal_outputs(model, new, inputs) -> float:
    """Returns the largest difference, as a share of the largest output."""
    theirs, ours = (m(inputs, training=False) for m in (model, new))
    theirs, ours = ([np.asarray(x) for x in keras.tree.flatten(outputs)] for outputs in (theirs, ours))
    differences = []
    for old, made in zip(theirs, ours, strict=True):
        assert made.shape == old.shape
        differences.append(np.abs(made - old).max() / max(np.abs(old).max(), 1e-3))
    assert max(differences) <= TOLERANCE
    return max(differences)
