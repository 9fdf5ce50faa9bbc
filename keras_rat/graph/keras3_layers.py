# SPDX-License-Identifier: Apache-2.0
"""Single layers of Keras 3, and what they are in tf_keras.

Most are the layer of the same name with the config in older clothes. An argument that tf_keras has not must have its
default, for then the layers are the same.
"""

import dataclasses
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tf_keras as keras

from keras_rat.graph import activations
from keras_rat.graph.channelwise import ScaledAdd

CUSTOM = "custom layers; write them with tf_keras, or put layers of Keras in their place"
ABSENT = "layers that tf_keras has not; put layers that it has in their place"
LAMBDA = "Lambda layers, whose function is written for Keras 3; put layers of Keras in their place"
ARGUMENT = "arguments that tf_keras has not; leave them at their defaults"
ACTIVATION = "activations that tf_keras has not; take one that it has"
CUSTOM_ARGUMENT = "arguments that are objects or functions of Keras 3; give the names of those that tf_keras has"
PRECISION = (
    "layers that do not compute in float32, without which scales cannot make rescales k bits wide; build the model "
    'again under keras.config.set_dtype_policy("float32") and set_weights from this one'
)
FROZEN_WEIGHTS = "single weights that are frozen; freeze whole layers, layer.trainable = False"

# Layers of both which are not the same: tables of words, and a crop that Keras 3 leaves out but in training.
DIFFERENT = ("Hashing", "HashedCrossing", "IntegerLookup", "RandomCrop", "StringLookup", "TextVectorization")
# Activations that tf_keras knows by the same name for the same function, and those that keras_rat brings.
ACTIVATIONS: dict[str, str | Callable] = {
    name: name
    for name in (
        "elu exponential gelu leaky_relu linear log_softmax mish relu relu6 "
        "selu sigmoid silu softmax softplus softsign tanh"
    ).split()
} | {"hard_sigmoid": activations.hard_sigmoid_of_keras_3, "hard_silu": activations.hard_silu}
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
# Arguments that change no output and no gradient: random numbers, and which kernel computes a layer.
IMMATERIAL = ("autocast", "flash_attention", "seed", "use_cudnn", "value_range")
# What tf_keras takes without naming it: its base layer, and that of recurrent layers.
UNNAMED = ("activity_regularizer", "dtype", "name", "trainable", "zero_output_for_mask")
WEIGHTS_RENAMED = {
    "DepthwiseConv1D": {"kernel": "depthwise_kernel"},
    "DepthwiseConv2D": {"kernel": "depthwise_kernel"},
}


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why something of a Keras 3 model cannot be rebuilt.

    Attributes:
      reason: what is the matter and how to mend it, the same text for all that share it.
      offender: name of the layer, with its kind or argument.
    """

    reason: str
    offender: str


def keras_3() -> Any:
    """The package keras, which was imported by whoever built the model."""
    return sys.modules["keras"]


def problems(layer: Any) -> list[Problem]:
    """All that keeps a Keras 3 layer from being rebuilt; models and operations are none of its business."""
    kind = type(layer)
    label = f"{layer.name} ({kind.__name__})"
    if kind is keras_3().layers.Lambda:
        return [Problem(LAMBDA, layer.name)]
    if _is_scaled_add(layer):
        return []
    if getattr(keras_3().layers, kind.__name__, None) is not kind:
        of_keras = kind.__module__.partition(".")[0] == "keras"
        return [Problem(ABSENT if of_keras else CUSTOM, label)]
    if not hasattr(keras.layers, kind.__name__) or kind.__name__ in DIFFERENT:
        return [Problem(ABSENT, label)]
    found = []
    policy = layer.dtype_policy
    if layer.weights and (policy.compute_dtype != "float32" or getattr(policy, "quantization_mode", None)):
        found.append(Problem(PRECISION, f"{layer.name} ({policy.name})"))
    return [*found, *_Reader(layer.name).read(kind.__name__, _config(layer)).problems]


def rebuilt(layer: Any) -> keras.layers.Layer:
    """The tf_keras layer of a Keras 3 layer without problems; `copy_weights` when it is built."""
    kind = type(layer).__name__
    if _is_scaled_add(layer):
        return ScaledAdd(layer.scale, name=layer.name, trainable=layer.trainable)
    config = _Reader(layer.name).read(kind, _config(layer)).config
    if kind == "Normalization" and layer.weights:  # adapted to data, which copies by config forget
        shape = layer.adapt_mean.shape
        config |= {key: np.reshape(_array(getattr(layer, key)), shape).tolist() for key in ("mean", "variance")}
    cls = getattr(keras.layers, kind)
    # MultiHeadAttention.from_config wants the shapes of its inputs, which building finds out.
    new = cls(**config) if kind == "MultiHeadAttention" else cls.from_config(config)
    if getattr(layer, "synchronized", False):  # which the configs of tf_keras leave out
        new.synchronized = True
    return new


def _is_scaled_add(layer) -> bool:
    """Whether a layer is that which Keras's InceptionResNetV2 defines for itself."""
    kind = type(layer)
    return kind.__name__ == "CustomScaleLayer" and kind.__module__.startswith("keras.src.applications.")


def copy_weights(layer: Any, new: keras.layers.Layer) -> list[Problem]:
    """Gives a tf_keras layer the weights of the Keras 3 layer that it was rebuilt from; both are built.

    Returns:
      What could not be carried over.
    """
    if not new.weights:
        return []
    renamed = WEIGHTS_RENAMED.get(type(layer).__name__, {})
    old_paths = [[*v.path.split("/")[:-1], renamed.get(v.name, v.name)] for v in layer.weights]
    new_paths = [w.name.partition(":")[0].split("/") for w in new.weights]
    values = layer.get_weights()
    order = _matched(old_paths, new_paths)
    if order is None or [values[i].shape for i in order] != [tuple(w.shape) for w in new.weights]:
        return [Problem(ABSENT, f"{layer.name} ({type(layer).__name__}, with other weights)")]
    new.set_weights([values[i] for i in order])
    if len(layer.trainable_weights) != len(new.trainable_weights):
        return [Problem(FROZEN_WEIGHTS, layer.name)]
    return []


def _matched(old, new) -> list[int] | None:
    """For each of the new paths the index of the old one with the same end, as much of it as tells them apart."""
    if len(old) != len(new):
        return None
    for length in range(1, max(map(len, new)) + 1):
        old_ends, new_ends = ([tuple(path[-length:]) for path in paths] for paths in (old, new))
        if len(set(new_ends)) == len(new) and set(new_ends) == set(old_ends):
            return [old_ends.index(end) for end in new_ends]
    same = [path[-1] for path in old] == [path[-1] for path in new]
    return list(range(len(new))) if same else None


def _array(value) -> np.ndarray:
    return keras_3().ops.convert_to_numpy(value)


def _config(layer) -> dict:
    with warnings.catch_warnings():  # of lambdas, which are refused
        warnings.simplefilter("ignore", UserWarning)
        return layer.get_config()


class _Reader:
    """Turns configs of Keras 3 into configs of tf_keras, and notes what it cannot."""

    def __init__(self, name: str):
        self._name = name
        self.config: dict = {}
        self.problems: list[Problem] = []

    def read(self, kind: str, config: dict) -> "_Reader":
        self.config = self._layer(kind, config)
        return self

    def _note(self, reason, what):
        self.problems.append(Problem(reason, f"{self._name} ({what})"))

    def _layer(self, kind, config):
        known = {*UNNAMED, *_parameters(getattr(keras.layers, kind))}
        defaults = inspect.signature(getattr(keras_3().layers, kind).__init__).parameters
        converted = {}
        for key, value in config.items():
            renamed = RENAMED.get(kind, {}).get(key, key)
            if renamed not in known:
                if key not in IMMATERIAL and not _is_default(key, value, defaults):
                    self._note(ARGUMENT, f"{kind} with {key}={value if np.isscalar(value) else '...'}")
            elif key == "dtype":
                converted[key] = _dtype(value)
            elif key in ("activation", "recurrent_activation"):
                converted[key] = self._activation(value)
            else:
                converted |= dict(self._value(renamed, value))
        return converted

    def _activation(self, value):
        if isinstance(value, dict) and value.get("module") == "keras.layers":
            value = _named(value)
        if isinstance(value, str) and value in ACTIVATIONS:
            return ACTIVATIONS[value]
        if isinstance(value, str):
            self._note(ACTIVATION, value)
        elif value is not None:
            names = [name for name in (value.get("config"), value.get("class_name"), "lambda") if isinstance(name, str)]
            self._note(CUSTOM_ARGUMENT, f"activation {names[0]}")
        return value

    def _value(self, key, value) -> Iterator[tuple[str, Any]]:
        """The (key, value) to have in the config; none to leave it to tf_keras."""
        if isinstance(value, (list, tuple)):
            yield key, type(value)(v for each in value for _, v in self._value(key, each))
            return
        if not isinstance(value, dict) or "class_name" not in value:
            yield key, value
            return
        kind, module = value["class_name"], value.get("module") or ""
        room = module.removeprefix("keras.")
        mine = getattr(getattr(keras, room, None), kind, None) if module != room and "." not in room else None
        if room == "random":  # a SeedGenerator
            yield key, value["config"]["seed"]
        elif room == "initializers" or key.endswith("_initializer"):
            if mine is not None:  # others are left out: weights are copied
                yield key, self._object(mine, value)
        elif mine is None or kind in DIFFERENT or kind == "Lambda":
            self._note(CUSTOM_ARGUMENT, f"{key} {kind}")
        elif room == "layers":
            if _dtype(value["config"]["dtype"]) != "float32":
                self._note(PRECISION, f"{key} {kind}: {_dtype(value['config']['dtype'])}")
            yield key, {"class_name": kind, "config": self._layer(kind, value["config"])}
        else:
            yield key, self._object(mine, value)

    def _object(self, mine, value):
        known = _parameters(mine)
        config = {key: dict(self._value(key, v)).get(key) for key, v in value["config"].items() if key in known}
        return {"class_name": value["class_name"], "config": config}


def _dtype(value) -> str:
    """The name of a dtype policy in a config; policies that have none are refused for weights."""
    return value if isinstance(value, str) else value["config"].get("name", "float32")


@functools.cache
def _parameters(cls) -> set[str]:
    """The names of the arguments of a class of tf_keras, those that it passes on among them."""
    own = [base for base in cls.__mro__ if "__init__" in vars(base) and base is not object]
    return {name for base in own for name in inspect.signature(base.__init__).parameters} - {"self", "kwargs", "args"}


def _is_default(key, value, parameters) -> bool:
    if key == "data_format":  # which layers of tf_keras without a choice have
        return value in (None, "channels_last")
    if key not in parameters:  # but taken in **kwargs
        return value in (None, False)
    return (tuple(value) if isinstance(value, list) else value) == parameters[key].default


def _named(value):
    """The name of a function for an activation that is a layer, itself where there is none."""
    config = value["config"]
    if value["class_name"] == "ReLU" and not config["negative_slope"] and not config["threshold"]:
        return {None: "relu", 6: "relu6"}.get(config["max_value"], value)
    if value["class_name"] == "LeakyReLU" and np.float32(config["negative_slope"]) == np.float32(0.2):
        return "leaky_relu"
    return {"Softmax": "softmax"}.get(value["class_name"], value) if config.get("axis", -1) == -1 else value
