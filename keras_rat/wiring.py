# SPDX-License-Identifier: Apache-2.0
"""Who feeds whom in a quantised Keras model: the input range, output range and batch-norm gain of every layer.

Resolved from Keras's own graph whenever a model is traced, so that cloned and loaded models need no extra step.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.quantization.keras import QuantizeWrapper

from keras_rat import tfmot_internals

ACTIVATION_STEPS = 255
# Output ranges of activations with a table or fixed point of their own: int8 scales 1/256 and 1/128.
TABLE_RANGES = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
# Those of activations that only clip, without an operator.
CLIPPED_RANGES = {"unit_interval": (0.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class Range:
    """The quantised range of an activation tensor.

    Attributes:
      owner: name of the layer that measures it, or whose activation fixes it.
      low, high: float32 scalar variables, low <= 0 <= high; constants where an activation fixes them.
      phase: int32 scalar variable, its `Phase`. None where an activation fixes the range.
    """

    owner: str
    low: tf.Variable | tf.Tensor
    high: tf.Variable | tf.Tensor
    phase: tf.Variable | None

    def span(self) -> tf.Tensor:
        """high - low."""
        return self.high - self.low

    def scale(self) -> tf.Tensor:
        """The int8 scale, (high - low) / 255."""
        return self.span() / ACTIVATION_STEPS


@dataclasses.dataclass(frozen=True)
class Links:
    """The surroundings of a layer with weights.

    Attributes:
      input, output: ranges its factor is made of.
      batch_norm: the batch normalisation that the converter folds into its scales, if any.
    """

    input: Range
    output: Range
    batch_norm: keras.layers.Layer | None

    def gain(self) -> tf.Tensor:
        """gamma / sqrt(moving variance + epsilon), float32 [channels]; 1 without batch normalisation."""
        bn = self.batch_norm
        if bn is None:
            return tf.ones([1])
        gain = tf.math.rsqrt(bn.moving_variance + bn.epsilon)
        return gain * bn.gamma if bn.scale else gain


def read(variable) -> np.ndarray:
    """The value of a variable, also of one that a distribution strategy holds in several copies."""
    return tf.convert_to_tensor(variable).numpy()


def inner(layer):
    """The layer a quantize wrapper wraps; other layers themselves."""
    return layer.layer if isinstance(layer, QuantizeWrapper) else layer


def is_quantized(layer) -> bool:
    """Whether a layer computes with integers, as those do that were annotated, or are tied to some that were."""
    return isinstance(layer, QuantizeWrapper | tfmot_internals.QuantizeLayer)


def in_float(model) -> list[str]:
    """Names of the layers of a model that stay in float, as nobody annotated them."""
    kinds = (keras.layers.InputLayer,)
    return [layer.name for layer in model.layers if not isinstance(layer, kinds) and not is_quantized(layer)]


def own_range(layer) -> Range | None:
    """The range a layer measures itself, None if it has none."""
    if isinstance(layer, tfmot_internals.QuantizeLayer):
        found = [getattr(layer, "quantizer_vars", None)]
    elif isinstance(layer, QuantizeWrapper) and layer.built:
        found = [tfmot_internals.output_variables(layer), *tfmot_internals.activation_variables(layer)]
    else:
        return None
    variables = found[-1]
    if not variables or "phase" not in variables:
        return None
    return Range(layer.name, variables["min_var"], variables["max_var"], variables["phase"])


def own_ranges(model) -> list[Range]:
    """The ranges that a model's layers measure themselves."""
    return [range_ for range_ in map(own_range, model.layers) if range_ is not None]


def fixed_range(layer) -> Range | None:
    """The range that a layer's softmax, sigmoid, tanh or clip fixes, None if it has none."""
    name = "softmax" if isinstance(inner(layer), keras.layers.Softmax) else activation_name(inner(layer))
    ranges = TABLE_RANGES | CLIPPED_RANGES
    if name not in ranges:
        return None
    low, high = ranges[name]
    return Range(f"{layer.name}/{name}", tf.constant(low), tf.constant(high), None)


def activation_name(layer) -> str:
    """The name of a layer's activation, or of its class, also where tfmot has wrapped it; empty without one."""
    activation = getattr(layer, "activation", None)
    activation = getattr(activation, "activation", activation)
    return "" if activation is None else getattr(activation, "__name__", type(activation).__name__)


def inputs(layer) -> list:
    """The layers that feed a layer."""
    nodes = layer.inbound_nodes
    return tf.nest.flatten(nodes[0].inbound_layers) if nodes else []


def outputs(layer) -> list:
    """The layers that a layer feeds."""
    return [node.layer for node in layer.outbound_nodes]


def _range_at(layer) -> Range | None:
    """The range of the integers that leave a layer: its own, or that of what it passes on; None of a layer in float."""
    while is_quantized(layer):
        found = fixed_range(layer) or own_range(layer)
        if found is not None:
            return found
        feeding = inputs(layer)
        if not feeding:
            break
        layer = feeding[0]
    return None


def source_ranges(layer) -> list[Range | None]:
    """The range of every input of a layer."""
    return [_range_at(feeding) for feeding in inputs(layer)]


def source_range(layer) -> Range | None:
    """The range of the first input of a layer, None before it is connected."""
    return next(iter(source_ranges(layer)), None)


def _range_after(layer) -> Range | None:
    """The range that accumulators which reach a layer are rescaled to; None where the next layer may have it."""
    return own_range(layer) or fixed_range(layer)


def stretch(layer) -> list:
    """The layers from one that rescales to the one that has the range its accumulators are rescaled to.

    Where none has it, as while the model is being built: to the last, or before the first in float.
    """
    found = []
    while is_quantized(layer):
        found.append(layer)
        following = outputs(layer)
        if not following or _range_after(layer) is not None:
            break
        layer = following[0]
    return found


def sink(layer) -> tuple[Range | None, keras.layers.Layer | None]:
    """The range a layer's accumulators are rescaled to, and the batch normalisation on the way."""
    passed = stretch(layer)
    if not passed:
        return None, None
    norms = [inner(each) for each in passed[1:] if hasattr(inner(each), "moving_variance")]
    return _range_after(passed[-1]), norms[-1] if norms else None


def links(layer) -> Links | None:
    """The surroundings of a wrapped layer with weights; None while the model around it is not complete."""
    source = source_range(layer)
    target, batch_norm = sink(layer)
    if source is None or target is None:
        return None
    return Links(source, target, batch_norm)
