# SPDX-License-Identifier: Apache-2.0
"""Writes a Keras graph anew, call by call: the frame of what turns models into forms that can be quantised."""

import contextlib

import tensorflow as tf
import tf_keras as keras

from keras_rat import tfmot_internals
from keras_rat.graph import channelwise


def bare(layer):
    """The layer in an annotation; other layers themselves."""
    return layer.layer if isinstance(layer, tfmot_internals.QuantizeAnnotate) else layer


class GraphWriter:
    """A model with copies of another's layers, or what `call` puts in their place; weights are copied.

    Values stand for tensors: these themselves, or whatever `value_of` and `tensor_of` turn into each other.

    Args:
      wrap: function (new layer, the layer it is made from) -> layer to put in its place, for annotations.
    """

    def __init__(self, wrap):
        self.wrap = wrap
        self._names = set()
        self._frozen = False  # whether what is inlined at present is in a frozen model, whatever its layers say
        self._weights = []  # (new layer, values), to be set when it is built

    def call(self, layer, args, kwargs):
        """The values that a layer, which may be annotated, gives for values and constants."""
        raise NotImplementedError

    def value_of(self, tensor):
        return tensor

    def tensor_of(self, value):
        return value

    def write(self, model: keras.Model) -> keras.Model:
        """The new model."""
        given = tf.nest.flatten(model.inputs)
        inputs = [
            keras.Input(tensor.shape[1:], tensor.shape[0], name=self.unique(name), dtype=tensor.dtype)
            for tensor, name in zip(given, model.input_names, strict=True)
        ]
        outputs = self.inline(model, [self.value_of(tensor) for tensor in inputs])
        outputs = tf.nest.map_structure(self.tensor_of, outputs)
        if isinstance(model.input, dict):
            inputs = tf.nest.pack_sequence_as(model.input, inputs)
        written = keras.Model(inputs, outputs, name=model.name)
        for layer, values in self._weights:
            layer.set_weights(values)
        return written

    def inline(self, model, inputs):
        """The outputs of a model on inputs given as a flat list."""
        values = {id(tensor): value for tensor, value in zip(tf.nest.flatten(model.inputs), inputs, strict=True)}
        for node in tfmot_internals.calls(model):
            if node.is_input:
                continue
            arguments = tf.nest.map_structure(lambda x: values.get(id(x), x), (node.call_args, node.call_kwargs))
            results = tf.nest.flatten(self.call(node.layer, *arguments))
            values.update(zip(map(id, tf.nest.flatten(node.outputs)), results, strict=True))
        return tf.nest.map_structure(
            lambda tensor: values[id(tensor)],
            model.outputs if isinstance(model, keras.Sequential) else model.output,
        )

    @contextlib.contextmanager
    def freezing(self, model):
        """While a model's layers are copied: they are frozen if it is."""
        outside, self._frozen = self._frozen, self._frozen or not model.trainable
        yield
        self._frozen = outside

    def copy(self, layer, config, kind=None, weights=None, suffix=""):
        """A new layer from a config, with the name (and a suffix) and weights of an old one."""
        inner = bare(layer)
        kind = kind or type(inner)
        config = dict(config, name=self.unique(inner.name + suffix))
        config["trainable"] = config.get("trainable", True) and inner.trainable and not self._frozen
        config.pop("batch_input_shape", None)
        if kind is keras.layers.SpatialDropout2D:
            config.pop("noise_shape", None), config.pop("seed", None)
        copy = kind.from_config(config)
        if getattr(inner, "synchronized", False):  # which configs leave out
            copy.synchronized = True
        self._weights.append((copy, inner.get_weights() if weights is None else weights))
        return self.wrap(copy, layer)

    def put(self, origin, layer, inputs, suffix="", weights=()):
        """Calls a layer that stands in the place of another, or of a part of it."""
        return self.copy(origin, layer.get_config(), type(layer), list(weights), suffix)(inputs)

    def scaled(self, origin, layer, x, gain, offset, suffix=""):
        """Calls a `Channelwise` layer with these weights on a tensor of whatever rank."""
        channels, shape = x.shape[-1], tuple(-1 if n is None else n for n in x.shape[1:])
        weights = channelwise.weights(gain, offset, channels)
        if len(shape) == 3:
            return self.put(origin, layer, x, suffix, weights)
        image = (1, 1, channels) if len(shape) == 1 else (1, -1, channels)
        x = self.put(origin, keras.layers.Reshape(image), x, f"{suffix}_image")
        x = self.put(origin, layer, x, f"{suffix}_scale", weights)
        return self.put(origin, keras.layers.Reshape(shape), x, suffix)

    def unique(self, name):
        candidates = (name if not n else f"{name}_{n}" for n in range(len(self._names) + 1))
        found = next(candidate for candidate in candidates if candidate not in self._names)
        self._names.add(found)
        return found
