# SPDX-License-Identifier: Apache-2.0
"""The private names of tensorflow_model_optimization and tf_keras that keras_rat lives on; no other file touches any.

Seen in tensorflow-model-optimization 0.8.1 and tf_keras 2.19.0; either may change them in any release.
tests/keras_rat/test_tfmot_internals.py tries each by itself and says which one is gone, in which version, and
test_walls.py keeps them out of the other files.
"""

import inspect

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_annotate,
    quantize_aware_activation,
    quantize_layer,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_configs
from tensorflow_model_optimization.quantization.keras import QuantizeWrapper
from tf_keras.src.engine import functional
from tf_keras.src.saving import saving_lib

# What `quantize_annotate_layer` returns: `layer`, `quantize_config`.
QuantizeAnnotate = quantize_annotate.QuantizeAnnotate
# The layer that quantises a model's input: `quantizer`, and once it is built `quantizer_vars`.
QuantizeLayer = quantize_layer.QuantizeLayer
# What keras.Model(inputs, outputs) makes; a class derived from keras.Model is no such model.
Functional = functional.Functional
# What a layout transform gives a layer for an activation when its output is not to be quantised.
NoOpActivation = quantize_aware_activation.NoOpActivation
# What tfmot's own layout transforms give layers: a range of the output, or nothing.
OutputQuantizeConfig = default_8bit_quantize_configs.Default8BitOutputQuantizeConfig
NoOpQuantizeConfig = default_8bit_quantize_configs.NoOpQuantizeConfig


def quantized_weights(wrapper: QuantizeWrapper) -> list[tuple]:
    """(weight, its quantizer, the variables that the quantizer's `build` returned) of a wrapper that is built."""
    return wrapper._weight_vars


def output_variables(wrapper: QuantizeWrapper) -> dict | None:
    """What `build` of a wrapper's output quantizer returned; None without one."""
    return wrapper._output_quantizer_vars if wrapper._output_quantizers else None


def activation_variables(wrapper: QuantizeWrapper) -> list[dict]:
    """What `build` of the quantizers in front of a wrapper's activations returned."""
    activations = wrapper._quantize_activations
    return [a._pre_activation_vars for a in activations if hasattr(a, "_pre_activation_vars")]


def quantizers(layer: keras.layers.Layer) -> list:
    """All the quantizers of a wrapper or QuantizeLayer that is built; none of other layers."""
    if isinstance(layer, QuantizeLayer):
        return [layer.quantizer]
    if not isinstance(layer, QuantizeWrapper):
        return []
    of_weights = [quantizer for _, quantizer, _ in quantized_weights(layer)]
    of_activations = [activation.quantizer for activation in layer._quantize_activations]
    return [*of_weights, *of_activations, *layer._output_quantizers]


def list_newest_weight_first(layer: keras.layers.Layer) -> None:
    """Puts the trainable weight that was added to a layer last before its others."""
    layer._trainable_weights.insert(0, layer._trainable_weights.pop())


def is_keras_file_written() -> bool:
    """Whether a .keras file is being written at present; tf_keras has no switch that says so."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not saving_lib.save_model.__code__:
        frame = frame.f_back
    return frame is not None


def is_functional(model: keras.layers.Layer) -> bool:
    """Whether a layer is a model with a graph: functional, or Sequential with inputs."""
    return getattr(model, "_is_graph_network", False)


def calls(model: keras.Model) -> list:
    """The calls of layers in a model with a graph, in execution order, as Keras's nodes."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def layers_at_any_depth(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model, of the models in it, and in wrappers."""
    return list(model._flatten_layers(include_self=False))


def layer_of(tensor: tf.Tensor) -> keras.layers.Layer:
    """The layer that a symbolic tensor comes out of."""
    return tensor._keras_history.layer


def learning_rate(optimizer: keras.optimizers.Optimizer, iteration: int) -> float:
    """The learning rate of an optimizer at an iteration, also of one that follows a schedule."""
    # The public attribute is the present one of a schedule; legacy optimizers have no other.
    rate = getattr(optimizer, "_learning_rate", None)
    rate = optimizer.learning_rate if rate is None else rate
    return float(rate(iteration) if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else rate)
