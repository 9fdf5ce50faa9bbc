# SPDX-License-Identifier: Apache-2.0
"""Keras 3, and models of it beside the same rebuilt in tf_keras."""

import importlib

import numpy as np

keras = importlib.import_module("keras")  # not `import keras`, which elsewhere in these tests is tf_keras
TOLERANCE = 2e-6  # of the largest output


def shake(model):
    """Gives every weight, statistics and biases among them, a value that is not its first."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            positive = "variance" in weight.path or "gamma" in weight.path
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.3, weight.shape))


def assert_equal_outputs(model, new, inputs, tolerance=TOLERANCE):
    theirs, ours = (m(inputs, training=False) for m in (model, new))
    theirs, ours = ([np.asarray(x) for x in keras.tree.flatten(outputs)] for outputs in (theirs, ours))
    for old, made in zip(theirs, ours, strict=True):
        assert made.shape == old.shape
        np.testing.assert_allclose(made, old, rtol=0, atol=tolerance * max(np.abs(old).max(), 1e-3))
