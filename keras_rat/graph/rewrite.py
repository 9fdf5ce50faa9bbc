# SPDX-License-Identifier: Apache-2.0
"""Float models in the form that tfmot can take: one flat graph of 2-D layers, each of them used once.

- Nested models are inlined.
- Layers without weights that are used several times (one ReLU object for a whole network) become one layer a use.
- One-dimensional layers become their two-dimensional namesakes on [batch, 1, length, channels], as the converter would
  make them; what follows them stays in that form for as long as it can.

Weights are copied, so the model given is left alone.
"""

import collections
import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import tfmot_internals
from keras_rat.graph.substitute import substitute
from keras_rat.graph.writer import GraphWriter, bare

layers = keras.layers


class BatchReshape(layers.Reshape):
    """keras.layers.Reshape that leaves the first dimension open instead of reading it, where the others are known."""

    def call(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return super().call(inputs) if None in shape[1:] else tf.reshape(inputs, (-1, *shape[1:]))


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """A model in flat form.

    Attributes:
      model: a functional model, or the model given where there was nothing to do.
      offenders: (layer name, reason) of what cannot be quantised in any form.
    """

    model: keras.Model
    offenders: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _Value:
    """A symbolic tensor; `lifted` where it is [batch, 1, length, channels] for [batch, length, channels]."""

    tensor: object
    lifted: bool = False


def _lifted_window(config, sizes, square_strides=False):
    """Window sizes and strides of a 1-D layer along the second axis of an image of height 1."""
    changed = {key: (1, *_tuple(config[key])) for key in sizes if key in config}
    if "strides" in config:
        (stride,) = _tuple(config["strides"])
        changed["strides"] = (stride if square_strides else 1, stride)
    return config | changed


def _tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _conv(config):
    return _lifted_window(config, ("kernel_size", "dilation_rate"))


def _depthwise(config):  # TensorFlow's depthwise kernels take equal strides alone; a height of 1 stays 1 under any
    return _lifted_window(config, ("kernel_size", "dilation_rate"), square_strides=True)


def _transpose(config):
    padding = config["output_padding"]
    config = _conv(config)
    return config | {"output_padding": None if padding is None else (0, *_tuple(padding))}


def _pool(config):
    return _lifted_window(config, ("pool_size",))


def _size(config):
    return config | {"size": (1, config["size"]), "interpolation": "nearest", "data_format": "channels_last"}


def _edges(key):
    return lambda config: config | {key: ((0, 0), tuple(config[key])), "data_format": "channels_last"}


def _same(config):
    return config


# 1-D layer: its 2-D form, and how its config becomes that one's.
LIFTED = {
    layers.Conv1D: (layers.Conv2D, _conv),
    layers.SeparableConv1D: (layers.SeparableConv2D, _depthwise),
    layers.DepthwiseConv1D: (layers.DepthwiseConv2D, _depthwise),
    layers.Conv1DTranspose: (layers.Conv2DTranspose, _transpose),
    layers.MaxPooling1D: (layers.MaxPooling2D, _pool),
    layers.AveragePooling1D: (layers.AveragePooling2D, _pool),
    layers.GlobalAveragePooling1D: (layers.GlobalAveragePooling2D, _same),
    layers.GlobalMaxPooling1D: (layers.GlobalMaxPooling2D, _same),
    layers.ZeroPadding1D: (layers.ZeroPadding2D, _edges("padding")),
    layers.Cropping1D: (layers.Cropping2D, _edges("cropping")),
    layers.UpSampling1D: (layers.UpSampling2D, _size),
    layers.SpatialDropout1D: (layers.SpatialDropout2D, _same),
}
POOLS = (layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)
# Layers that compute the same on the lifted form.
ELEMENTWISE = (
    layers.Activation,
    layers.Add,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.LeakyReLU,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
    layers.Subtract,
)


def rewrite(model, wrap, is_open=lambda layer: True) -> Rewritten:
    """Brings a model into flat form, of layers that have int8 operators (`substitute`), if it is not.

    Args:
      model: a functional or Sequential model that is built; layers may be annotated.
      wrap: function (new layer, the layer it is made from) -> layer to put in its place, for annotations.
      is_open: function layer -> whether others may stand in its place; layers with a config of their own never are.
    """
    flat = _Writer(wrap).run(model) if _needs_rewriting(model) else Rewritten(model, [])

    def may_stand_in(layer):
        return getattr(layer, "quantize_config", None) is None and is_open(layer)

    return dataclasses.replace(flat, model=substitute(flat.model, wrap, may_stand_in))


def _needs_rewriting(model) -> bool:
    found = [bare(layer) for layer in model.layers]
    uses = collections.Counter(id(node.layer) for node in tfmot_internals.calls(model))
    return any(isinstance(layer, keras.Model) or type(layer) in LIFTED for layer in found) or max(uses.values()) > 1


class _Writer(GraphWriter):
    def __init__(self, wrap):
        super().__init__(wrap)
        self._uses = collections.Counter()
        self._offenders = {}

    def run(self, model) -> Rewritten:
        rewritten = self.write(model)
        for layer, uses in self._uses.items():
            if uses > 1 and layer.weights:
                kind = type(layer).__name__
                self._offenders[layer.name] = f"{kind} used {uses} times; make a layer of its own for each use"
        return Rewritten(rewritten, list(self._offenders.items()))

    def value_of(self, tensor):
        return _Value(tensor)

    def tensor_of(self, value):
        return self._lowered(value).tensor

    def call(self, layer, args, kwargs):
        inner = bare(layer)
        if tfmot_internals.is_functional(inner):
            with self.freezing(inner):
                return self.inline(inner, [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, _Value)])
        self._uses[inner] += 1
        given = [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, _Value)]
        if type(inner) in LIFTED and _channels_last(inner):
            return self._lifted_call(layer, inner, given[0])
        if given and all(value.lifted for value in given):
            if isinstance(inner, layers.Flatten):
                return self._value(self.copy(layer, inner.get_config()), args, kwargs, lifted=False)
            if isinstance(inner, ELEMENTWISE) and _last_axis(inner):
                config = inner.get_config()
                if "axis" in config:
                    config["axis"] = -1
                return self._value(self.copy(layer, config), args, kwargs, lifted=True)
        if isinstance(inner, keras.Model):
            self._offenders[inner.name] = (
                "a subclassed model, whose layers cannot be seen; build it with the functional API"
            )
            copy = inner
        else:
            copy = self.copy(layer, inner.get_config())
        args, kwargs = tf.nest.map_structure(lambda v: self._lowered(v) if isinstance(v, _Value) else v, (args, kwargs))
        return self._value(copy, args, kwargs, lifted=False)

    def _value(self, layer, args, kwargs, lifted):
        args, kwargs = tf.nest.map_structure(lambda v: v.tensor if isinstance(v, _Value) else v, (args, kwargs))
        return tf.nest.map_structure(lambda tensor: _Value(tensor, lifted), layer(*args, **kwargs))

    def _lifted_call(self, layer, inner, value):
        kind, change = LIFTED[type(inner)]
        config = change(inner.get_config())
        tensor = self._raised(value, layer).tensor
        if config.get("padding") == "causal":
            (_, size), (_, dilation) = config["kernel_size"], config["dilation_rate"]
            before = layers.ZeroPadding2D(((0, 0), (dilation * (size - 1), 0)), name=self.unique(f"{inner.name}_pad"))
            tensor = self.wrap(before, layer)(tensor)
            config["padding"] = "valid"
        weights = [w[None] if w.ndim > 1 else w for w in inner.get_weights()]
        lifted = not isinstance(inner, POOLS) or config.get("keepdims", False)
        return _Value(self.copy(layer, config, kind, weights)(tensor), lifted)

    def _raised(self, value, layer):
        if value.lifted:
            return value
        _, length, channels = value.tensor.shape
        reshape = layers.Reshape((1, -1 if length is None else length, channels), name=self.unique("to_2d"))
        return _Value(self.wrap(reshape, layer)(value.tensor), True)

    def _lowered(self, value):
        if not value.lifted:
            return value
        _, _, length, channels = value.tensor.shape
        reshape = layers.Reshape((-1 if length is None else length, channels), name=self.unique("to_1d"))
        return _Value(self.wrap(reshape, tfmot_internals.layer_of(value.tensor))(value.tensor))


def _channels_last(layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _last_axis(layer) -> bool:
    """Whether a layer with an axis works along the last one of three."""
    axis = getattr(layer, "axis", -1)
    return all(int(a) in (-1, 2) for a in np.ravel(axis))
