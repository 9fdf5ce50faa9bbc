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
    layers.LeakyReLU,
    layers.ReLU,
    layers.Softmax,
)


def bare(layer):
    """The layer in an annotation; other layers themselves."""
    return layer.layer if isinstance(layer, tfmot_internals.QuantizeAnnotate) else layer


def rewrite(model, wrap) -> Rewritten:
    """Brings a model into flat form, if it is not.

    Args:
      model: a functional or Sequential model that is built; layers may be annotated.
      wrap: function (new layer, the layer it is made from) -> layer to put in its place, for annotations.
    """
    if not _needs_rewriting(model):
        return Rewritten(model, [])
    return _Writer(wrap).run(model)


def _needs_rewriting(model) -> bool:
    found = [bare(layer) for layer in model.layers]
    uses = collections.Counter(id(node.layer) for node in tfmot_internals.calls(model))
    return any(isinstance(layer, keras.Model) or type(layer) in LIFTED for layer in found) or max(uses.values()) > 1


class _Writer:
    def __init__(self, wrap):
        self._wrap = wrap
        self._names = set()
        self._uses = collections.Counter()
        self._offenders = {}
        self._weights = []  # (new layer, values), to be set when it is built

    def run(self, model) -> Rewritten:
        given = tf.nest.flatten(model.inputs)
        inputs = [
            keras.Input(tensor.shape[1:], tensor.shape[0], name=self._unique(name), dtype=tensor.dtype)
            for tensor, name in zip(given, model.input_names, strict=True)
        ]
        outputs = self._inline(model, [_Value(tensor) for tensor in inputs])
        outputs = tf.nest.map_structure(lambda value: self._lowered(value).tensor, outputs)
        if isinstance(model.input, dict):
            inputs = tf.nest.pack_sequence_as(model.input, inputs)
        rewritten = keras.Model(inputs, outputs, name=model.name)
        for layer, values in self._weights:
            layer.set_weights(values)
        for layer, uses in self._uses.items():
            if uses > 1 and layer.weights:
                kind = type(layer).__name__
                self._offenders[layer.name] = f"{kind} used {uses} times; make a layer of its own for each use"
        return Rewritten(rewritten, list(self._offenders.items()))

    def _inline(self, model, inputs):
        """The outputs of a model on inputs given as a flat list."""
        values = {id(tensor): value for tensor, value in zip(tf.nest.flatten(model.inputs), inputs, strict=True)}
        for node in tfmot_internals.calls(model):
            if node.is_input:
                continue
            arguments = tf.nest.map_structure(lambda x: values.get(id(x), x), (node.call_args, node.call_kwargs))
            results = tf.nest.flatten(self._call(node.layer, *arguments))
            values.update(zip(map(id, tf.nest.flatten(node.outputs)), results, strict=True))
        return tf.nest.map_structure(
            lambda tensor: values[id(tensor)],
            model.outputs if isinstance(model, keras.Sequential) else model.output,
        )

    def _call(self, layer, args, kwargs):
        inner = bare(layer)
        if tfmot_internals.is_functional(inner):
            return self._inline(inner, [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, _Value)])
        self._uses[inner] += 1
        given = [v for v in tf.nest.flatten((args, kwargs)) if isinstance(v, _Value)]
        if type(inner) in LIFTED and _channels_last(inner):
            return self._lifted_call(layer, inner, given[0])
        if given and all(value.lifted for value in given):
            if isinstance(inner, layers.Flatten):
                return self._value(self._copy(layer, inner.get_config()), args, kwargs, lifted=False)
            if isinstance(inner, ELEMENTWISE) and _last_axis(inner):
                config = inner.get_config()
                if "axis" in config:
                    config["axis"] = -1
                return self._value(self._copy(layer, config), args, kwargs, lifted=True)
        if isinstance(inner, keras.Model):
            self._offenders[inner.name] = (
                "a subclassed model, whose layers cannot be seen; build it with the functional API"
            )
            copy = inner
        else:
            copy = self._copy(layer, inner.get_config())
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
            before = layers.ZeroPadding2D(((0, 0), (dilation * (size - 1), 0)), name=self._unique(f"{inner.name}_pad"))
            tensor = self._wrap(before, layer)(tensor)
            config["padding"] = "valid"
        weights = [w[None] if w.ndim > 1 else w for w in inner.get_weights()]
        lifted = not isinstance(inner, POOLS) or config.get("keepdims", False)
        return _Value(self._copy(layer, config, kind, weights)(tensor), lifted)

    def _copy(self, layer, config, kind=None, weights=None):
        """A new layer from a config, with the name and weights of an old one."""
        inner = bare(layer)
        kind = kind or type(inner)
        config = dict(config, name=self._unique(inner.name))
        config.pop("batch_input_shape", None)
        if kind is layers.SpatialDropout2D:
            config.pop("noise_shape", None), config.pop("seed", None)
        copy = kind.from_config(config)
        if getattr(inner, "synchronized", False):  # which configs leave out
            copy.synchronized = True
        self._weights.append((copy, inner.get_weights() if weights is None else weights))
        return self._wrap(copy, layer)

    def _raised(self, value, layer):
        if value.lifted:
            return value
        _, length, channels = value.tensor.shape
        reshape = layers.Reshape((1, -1 if length is None else length, channels), name=self._unique("to_2d"))
        return _Value(self._wrap(reshape, layer)(value.tensor), True)

    def _lowered(self, value):
        if not value.lifted:
            return value
        _, _, length, channels = value.tensor.shape
        reshape = layers.Reshape((-1 if length is None else length, channels), name=self._unique("to_1d"))
        return _Value(self._wrap(reshape, tfmot_internals.layer_of(value.tensor))(value.tensor))

    def _unique(self, name):
        candidates = (name if not n else f"{name}_{n}" for n in range(len(self._names) + 1))
        found = next(candidate for candidate in candidates if candidate not in self._names)
        self._names.add(found)
        return found


def _channels_last(layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _last_axis(layer) -> bool:
    """Whether a layer with an axis works along the last one of three."""
    axis = getattr(layer, "axis", -1)
    return all(int(a) in (-1, 2) for a in np.ravel(axis))
