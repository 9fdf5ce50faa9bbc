# SPDX-License-Identifier: Apache-2.0
"""Layers and functions that have no int8 operator, in the terms of those that have one.

| what is found | what it becomes |
|---|---|
| Rescaling, Normalization, `x * 2.0 + 1.0`; BatchNormalization with no layer to fold into | `Channelwise` |
| swish (silu) | sigmoid and Multiply |
| hard sigmoid | `Channelwise` with a range of 0 to 1 |
| hard swish, written out or by name | HARD_SWISH behind a layer with weights, else hard sigmoid and Multiply |
| an activation in a layer with weights that is none of the above's | an Activation behind it |
| Add, Multiply of more than two inputs, or of several ranks | two at a time, after a Reshape |
| functions of TensorFlow on Keras tensors | the layer of the same meaning |

Models without any of these are left as they are.
"""

import collections
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import tfmot_internals
from keras_rat.graph import activations, channelwise, functions, kinds
from keras_rat.graph.channelwise import Channelwise, HardSwish
from keras_rat.graph.writer import GraphWriter, bare

layers = keras.layers
SWISH = ("swish", "silu")
HARD_SWISH = (activations.hard_silu.__name__,)
# By the name of a hard sigmoid: its slope.
HARD_SIGMOIDS = {activations.hard_sigmoid_of_keras_3: 1 / 6, keras.activations.hard_sigmoid: 0.2}
BATCH_NORM = (layers.BatchNormalization, layers.experimental.SyncBatchNormalization)
FOLDS_NORM = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)
MERGES = (layers.Add, layers.Multiply, layers.Subtract, layers.Maximum, layers.Minimum)
SCALED_ADD = ("CustomScaleLayer", "ScaledAdd")  # of the InceptionResNetV2 of tf_keras, and of Keras 3: a + scale * b
_NEAR = 1e-6  # relative, of constants of hard sigmoids, which models write as 1 / 6 or 0.1667 in float32


@dataclasses.dataclass(frozen=True)
class _Made:
    """How a tensor comes from another, where a later layer may make something simpler of both.

    Attributes:
      kind: "x + 3", "relu6(x + 3)", "hard sigmoid" or "x * relu6(x + 3)".
      source: the x.
    """

    kind: str
    source: Any


def substitute(model, wrap, is_open) -> keras.Model:
    """Brings a flat model into terms of layers that have int8 operators, if it is not.

    Args:
      model: functional or Sequential, built, every layer used once; layers may be annotated.
      wrap: function (new layer, the layer it is made from) -> layer to put in its place, for annotations.
      is_open: function layer -> whether it is to be quantised by the scheme, so that others may stand in its place.
    """
    writer = _Substituter(model, wrap, is_open)
    return writer.write(model) if any(map(writer.is_substituted, tfmot_internals.calls(model))) else model


class _Substituter(GraphWriter):
    def __init__(self, model, wrap, is_open):
        super().__init__(wrap)
        self._is_open = is_open
        self._consumers = collections.Counter(
            id(tensor) for call in tfmot_internals.calls(model) for tensor in tf.nest.flatten(call.input_tensors)
        )
        self._consumers.update(map(id, tf.nest.flatten(model.outputs)))
        self._made = {}  # id of a new tensor: (it, how it came to be)
        self._weighted = {}  # id of a new tensor: (it, how many consumers it had), of outputs of layers with weights
        self._norms = {id(call.layer) for call in tfmot_internals.calls(model) if self._stands_alone(call)}
        self._calls = {id(call.layer): call for call in tfmot_internals.calls(model)}

    def is_substituted(self, call) -> bool:
        layer = bare(call.layer)
        if call.is_input or not self._is_open(call.layer):
            return False
        return (
            id(call.layer) in self._norms
            or type(layer) in (layers.Rescaling, layers.Normalization)
            or functions.is_function(layer)
            or type(layer).__name__ in SCALED_ADD
            or _is_substituted(layer)
            or (type(layer) in MERGES and not _is_plain(call))
        )

    def call(self, layer, args, kwargs):
        inner = bare(layer)
        x = next((v for v in tf.nest.flatten((args, kwargs)) if functions.is_tensor(v)), None)
        if isinstance(inner, keras.Model):  # of a class of its own, which is refused
            return layer(*args, **kwargs)
        if not self._is_open(layer):
            return self.copy(layer, inner.get_config())(*args, **kwargs)
        if functions.is_function(inner):
            return self._function(layer, args, kwargs)
        if isinstance(inner, layers.Rescaling):
            return self._affine(layer, x, *channelwise.of_rescaling(inner))
        if isinstance(inner, layers.Normalization):
            return self._normalised(layer, x, args, kwargs)
        if id(layer) in self._norms:
            return self._affine(layer, x, *channelwise.of_batch_norm(inner), trainable=inner.trainable)
        if type(inner).__name__ in SCALED_ADD:
            first, second = args[0]
            return self.put(
                layer, layers.Add(), [first, self._affine(layer, second, inner.scale, 0.0, suffix="_scale")]
            )
        if type(inner) in MERGES:
            return self._merged(layer, args[0])
        if _is_substituted(inner):
            return self._activated(layer, inner.activation, args, kwargs)
        return self._noted(layer, inner, x, self.copy(layer, inner.get_config())(*args, **kwargs))

    def _noted(self, layer, inner, x, y):
        """An output, with what the layers that follow may want to know."""
        if isinstance(inner, (*kinds.WEIGHTED, *BATCH_NORM)):
            self._weighted[id(y)] = (y, self._uses(layer))
        if _is_relu6(inner):
            self._remember(y, "relu6(x + 3)", self._source("x + 3", x))
        return y

    def _uses(self, layer) -> int:
        """How many calls use the output of a layer of the model given."""
        return self._consumers[id(tf.nest.flatten(self._calls[id(layer)].output_tensors)[0])]

    def _remember(self, y, kind, source):
        if source is not None:
            self._made[id(y)] = (y, _Made(kind, source))

    def _source(self, kind, tensor):
        """What a tensor of this kind comes from, else None."""
        _, made = self._made.get(id(tensor), (None, None))
        return made.source if made is not None and made.kind == kind else None

    def _affine(self, origin, x, gain, offset, activation="linear", trainable=False, suffix=""):
        if _is_near(gain, 1 / 6) and not np.any(offset):
            for kind, build in (("relu6(x + 3)", self._hard_sigmoid), ("x * relu6(x + 3)", self._hard_swish)):
                if (source := self._source(kind, x)) is not None:
                    return build(origin, source)
        layer = Channelwise(activation=activation, trainable=trainable)
        y = self.scaled(origin, layer, x, gain, offset, suffix)
        if len(x.shape) == 4:
            self._weighted[id(y)] = (y, self._uses(origin))
        if activation == "linear" and _is_near(gain, 1.0) and _is_near(offset, 3.0):
            self._remember(y, "x + 3", x)
        return y

    def _normalised(self, layer, x, args, kwargs):
        gain, offset = channelwise.of_normalization(bare(layer))
        if gain.size not in (1, x.shape[-1]) or gain.size != gain.shape[-1]:
            return self.copy(layer, bare(layer).get_config())(*args, **kwargs)
        return self._affine(layer, x, gain, offset)

    def _swish(self, origin, x):
        gate = self.put(origin, layers.Activation("sigmoid"), x, "_sigmoid")
        return self.put(origin, layers.Multiply(), [x, gate])

    def _hard_sigmoid(self, origin, x, slope=1 / 6, suffix=""):
        y = self._affine(origin, x, slope, 0.5, activations.unit_interval, suffix=suffix)
        if slope == 1 / 6:
            self._remember(y, "hard sigmoid", x)
        return y

    def _hard_swish(self, origin, x, uses=2):
        """Args: uses: how often this function uses x, so that one more use is not the function's."""
        _, consumers = self._weighted.get(id(x), (None, None))
        if consumers == uses:
            return self.put(origin, HardSwish(), x)
        return self.put(origin, layers.Multiply(), [x, self._hard_sigmoid(origin, x, suffix="_gate")])

    def _activation(self, origin, activation, x, uses=1):
        name = kinds.activation_name(activation)
        if name in SWISH:
            return self._swish(origin, x)
        if name in HARD_SWISH:
            return self._hard_swish(origin, x, uses)
        return self._hard_sigmoid(origin, x, HARD_SIGMOIDS[activation])

    def _activated(self, layer, activation, args, kwargs):
        """An activation, of a layer of its own or of one with weights."""
        inner = bare(layer)
        if isinstance(inner, layers.Activation):
            return self._activation(layer, activation, args[0])
        config = inner.get_config() | {"activation": "linear"}
        x = self.copy(layer, config)(*args, **kwargs)
        if isinstance(inner, kinds.WEIGHTED):
            self._weighted[id(x)] = (x, 1)
        return self._activation(layer, activation, x)

    def _merged(self, layer, values):
        inner = bare(layer)
        rank = max(len(value.shape) for value in values)
        values = [self._of_rank(layer, value, rank) for value in values]
        result = values[0]
        for value in values[1:]:
            result = self._pair(layer, type(inner), result, value)
        return result

    def _of_rank(self, origin, x, rank):
        """A tensor with axes before its others, as layers that merge tensors broadcast it."""
        more = rank - len(x.shape)
        return self.put(origin, layers.Reshape((*[1] * more, *x.shape[1:])), x, "_reshape") if more else x

    def _pair(self, layer, kind, a, b):
        if kind is layers.Multiply:
            for x, gate in ((a, b), (b, a)):
                if self._source("hard sigmoid", gate) is x:
                    return self._hard_swish(layer, x)
        y = self.put(layer, kind(), [a, b])
        if kind is layers.Multiply:
            for x, gate in ((a, b), (b, a)):
                if self._source("relu6(x + 3)", gate) is x:
                    self._remember(y, "x * relu6(x + 3)", x)
        return y

    def _function(self, layer, args, kwargs):
        """A function of TensorFlow: the layers for it, or itself, to be refused, where there are none."""
        found = functions.of_call(bare(layer), args, kwargs)
        if isinstance(found, functions.Affine):
            return self._affine(layer, found.x, found.gain, found.offset)
        if isinstance(found, functions.Activated) and _is_other(found.activation):
            return self._activation(layer, found.activation, found.x)
        if isinstance(found, functions.Activated):
            new = layers.Activation(found.activation)
            return self._noted(layer, new, found.x, self.put(layer, new, found.x))
        if isinstance(found, functions.Merged):
            return self._pair(layer, found.kind, *found.inputs)
        return self.copy(layer, bare(layer).get_config())(*args, **kwargs)

    def _stands_alone(self, call) -> bool:
        """Whether a call is of a batch normalisation that no layer before it can take in."""
        norm = bare(call.layer)
        if not isinstance(norm, BATCH_NORM) or not self._is_open(call.layer):
            return False
        if getattr(norm, "synchronized", False) or not _is_last(norm.axis, call):
            return False
        (x,) = tf.nest.flatten(call.input_tensors)
        before = bare(tfmot_internals.layer_of(x))
        takes = type(before) in FOLDS_NORM and kinds.activation_name(before.activation) == "linear"
        return not takes or self._consumers[id(x)] > 1


def _is_substituted(layer) -> bool:
    """Whether a layer's activation becomes layers of its own."""
    return not isinstance(layer, HardSwish) and _is_other(getattr(layer, "activation", None))


def _is_other(activation) -> bool:
    if activation is None:
        return False
    return kinds.activation_name(activation) in (*SWISH, *HARD_SWISH) or activation in HARD_SIGMOIDS


def _is_relu6(layer) -> bool:
    if isinstance(layer, layers.ReLU):
        return layer.max_value == 6 and not layer.negative_slope and not layer.threshold
    return type(layer) is layers.Activation and kinds.activation_name(layer.activation) == "relu6"


def _is_plain(call) -> bool:
    """Whether a merge is of two tensors of one rank."""
    return [len(tensor.shape) for tensor in call.input_tensors] == [len(call.input_tensors[0].shape)] * 2


def _is_last(axis, call) -> bool:
    rank = len(tf.nest.flatten(call.input_tensors)[0].shape)
    return all(int(a) in (-1, rank - 1) for a in np.ravel(axis))


def _is_near(values, wanted: float) -> bool:
    return bool(np.all(np.abs(np.asarray(values, np.float64) - wanted) <= _NEAR * wanted))
