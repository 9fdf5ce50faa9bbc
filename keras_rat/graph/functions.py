# SPDX-License-Identifier: Apache-2.0
"""Functions of TensorFlow that were called on Keras tensors (`x + 3.0`, `tf.nn.relu6(x)`), by what they compute."""

import dataclasses
from typing import Any

import numpy as np
import tf_keras as keras

_LAYER = "TFOpLambda"  # Keras's name for them
_MERGES = {
    "__operators__.add": keras.layers.Add,
    "math.add": keras.layers.Add,
    "math.subtract": keras.layers.Subtract,
    "math.multiply": keras.layers.Multiply,
    "math.maximum": keras.layers.Maximum,
    "math.minimum": keras.layers.Minimum,
}
# (gain, offset) of f(x, number), and of f(number, x).
_WITH_NUMBER = {
    "__operators__.add": (lambda n: (1.0, n), lambda n: (1.0, n)),
    "math.add": (lambda n: (1.0, n), lambda n: (1.0, n)),
    "math.subtract": (lambda n: (1.0, -n), lambda n: (-1.0, n)),
    "math.multiply": (lambda n: (n, 0.0), lambda n: (n, 0.0)),
    "math.truediv": (lambda n: (1 / n, 0.0), None),
    "math.divide": (lambda n: (1 / n, 0.0), None),
}
_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.silu": "swish",
    "nn.swish": "swish",
    "nn.softmax": "softmax",
    "math.sigmoid": "sigmoid",
    "nn.sigmoid": "sigmoid",
    "sigmoid": "sigmoid",
    "math.tanh": "tanh",
    "tanh": "tanh",
    "nn.tanh": "tanh",
}


@dataclasses.dataclass(frozen=True)
class Affine:
    """gain * x + offset, each one number or one for each channel."""

    x: Any
    gain: np.ndarray
    offset: np.ndarray


@dataclasses.dataclass(frozen=True)
class Activated:
    """An activation function of x."""

    x: Any
    activation: Any


@dataclasses.dataclass(frozen=True)
class Merged:
    """Two tensors merged by a layer of this kind."""

    kind: type
    inputs: tuple[Any, Any]


def is_function(layer: keras.layers.Layer) -> bool:
    """Whether a layer is such a call."""
    return type(layer).__name__ == _LAYER


def of_call(layer, args, kwargs) -> Affine | Activated | Merged | None:
    """What a call of TensorFlow's computes, None if it is nothing that a layer does.

    Args:
      layer: of which `is_function` is true.
      args, kwargs: of the call, Keras tensors and constants.
    """
    name = layer.symbol
    given = [v for v in (*args, *kwargs.values()) if v is not None and not isinstance(v, str)]
    if name in _ACTIVATIONS:
        return Activated(given[0], keras.activations.get(_ACTIVATIONS[name])) if len(given) == 1 else None
    if len(given) != 2:
        return None
    a, b = given
    if is_tensor(a) and is_tensor(b):
        same_rank = len(a.shape) == len(b.shape)
        return Merged(_MERGES[name], (a, b)) if name in _MERGES and same_rank else None
    x, number, change = (a, b, 0) if is_tensor(a) else (b, a, 1)
    change = _WITH_NUMBER.get(name, (None, None))[change]
    number = np.asarray(number, np.float32)
    if change is None or number.size not in (1, x.shape[-1]) or (number.size > 1 and number.shape[-1] != number.size):
        return None
    gain, offset = (np.asarray(values, np.float32) for values in change(number))
    return Affine(x, gain, offset) if np.isfinite(gain).all() else None


def is_tensor(value: Any) -> bool:
    """Whether a value is a Keras tensor."""
    return hasattr(value, "shape") and keras.backend.is_keras_tensor(value)
