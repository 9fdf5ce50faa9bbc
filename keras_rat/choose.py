# SPDX-License-Identifier: Apache-2.0
"""Multipliers chosen on data: the grid point below or above each factor, whichever the outputs suffer less from."""

import collections

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_rat import tfmot_internals, wiring
from keras_rat.absorb import LEAST_GAIN
from keras_rat.rescales import rescale_layers
from tflm_export.rescale import MAX_BITS
from tflm_export.setting import KEEP


def choose(model: keras.Model, inputs, fit: bool = False) -> int:
    """Chooses the multipliers of the layers with weights whose factors are off their grid, in execution order.

    A layer's target is its output, behind batch normalisation and activation, in the network with exact factors; each
    candidate computes from what the layers before it give with the multipliers that are chosen already. For every
    channel the candidate with the smaller squared error counts.

    Args:
      model: from `quantize_model`, its ranges frozen and its multipliers set.
      inputs: float32 arrays, one for each input of the model, [rows, ...].
      fit: whether weights take on the factor of their multiplier (`fitted`), which those of `keep` layers can; others
        are left out.

    Returns:
      How many multipliers are not what rounding alone makes them.
    """
    open_layers = [layer for layer in rescale_layers(model) if _is_off(layer)]
    if fit:
        open_layers = [layer for layer in open_layers if layer.quantize_config.quantizer.method == KEEP]
    if not open_layers:
        return 0
    calls = [call for call in tfmot_internals.calls(model) if tf.nest.flatten(call.input_tensors)]
    calls = [call for call in calls if not isinstance(call.layer, keras.layers.InputLayer)]
    exact, narrow = (_Values(model, calls, inputs) for _ in range(2))
    changed = 0
    for call in calls:
        if call.layer in open_layers:
            changed += _decide(call, exact, narrow, fit)
        else:
            exact.run(call)
            narrow.run(call)
    return changed


def fitted(kernel: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Weights whose largest ones are `ratio` times what they were, and with them the factor on the `keep` grid.

    Where that is less, weights beyond it are clipped; where it is more, the largest alone grows. All others stay, so
    that the error is one of few weights, and not a gain error of all.

    Args:
      kernel: float32, its last axes the channels of `ratio`.
      ratio: positive float64 [channels] or [1].
    """
    flat = kernel.reshape(-1, len(ratio))
    largest, channels = np.abs(flat).argmax(0), np.arange(len(ratio))
    limit = ratio * np.abs(flat[largest, channels])
    result = np.clip(flat, -limit, limit)
    result[largest, channels] = np.copysign(limit, flat[largest, channels])
    return result.reshape(kernel.shape).astype(np.float32)


class _Values:
    """Tensors of a network, computed call by call and forgotten once nobody needs them any more."""

    def __init__(self, model, calls, inputs):
        self._uses = collections.Counter(id(x) for call in calls for x in tf.nest.flatten(call.input_tensors))
        self._values = {id(x): tf.convert_to_tensor(value) for x, value in zip(model.inputs, inputs, strict=True)}

    def inputs(self, call):
        return tf.nest.map_structure(lambda x: self._values[id(x)], call.input_tensors)

    def run(self, call, outputs=None) -> None:
        """Goes on by a call, whose outputs may be known already."""
        outputs = call.layer(self.inputs(call)) if outputs is None else outputs
        for x, value in zip(tf.nest.flatten(call.output_tensors), tf.nest.flatten(outputs), strict=True):
            self._values[id(x)] = value
        for x in tf.nest.flatten(call.input_tensors):
            self._uses[id(x)] -= 1
            if not self._uses[id(x)]:
                del self._values[id(x)]


def _decide(call, exact: _Values, narrow: _Values, fit: bool) -> int:
    """Sets the multipliers of a layer and runs it in both networks; returns how many are not what rounding makes."""
    ((weight, quantizer, variables),) = tfmot_internals.quantized_weights(call.layer)
    kernel, factor, bits = wiring.read(weight), quantizer.factor(weight, variables), wiring.read(variables["bits"])
    rounded = quantizer.snapped(factor, bits)

    def ended(multiplier, widths, weights, values):
        variables["bits"].assign(widths)
        weight.assign(weights)
        quantizer.set_multiplier(variables, multiplier)
        x = first = call.layer(values.inputs(call))
        for layer in wiring.stretch(call.layer)[1:]:
            x = layer(x)
        return tf.reshape(x, [-1, x.shape[-1]]), first

    target, outputs = ended(factor, np.full_like(bits, MAX_BITS), kernel, exact)
    exact.run(call, outputs)
    below, above = (quantizer.snapped(factor, bits, rounding) for rounding in ("down", "up"))
    kernels = [fitted(kernel, multiplier / factor) if fit else kernel for multiplier in (below, above)]
    errors = [
        tf.reduce_sum(tf.square(ended(multiplier, bits, weights, narrow)[0] - target), axis=0).numpy()
        for multiplier, weights in zip((below, above), kernels, strict=True)
    ]
    if len(factor) == 1:
        errors = [error.sum(keepdims=True) for error in errors]
    is_below = np.where(errors[0] == errors[1], rounded == below, errors[0] < errors[1])
    chosen = np.where(is_below, below, above)
    lower, higher = (weights.reshape(-1, len(factor)) for weights in kernels)
    weight.assign(np.where(is_below, lower, higher).reshape(kernel.shape))
    quantizer.set_multiplier(variables, chosen)
    narrow.run(call)
    return int((chosen != rounded).sum())


def _is_off(layer) -> bool:
    """Whether factors of a layer are off their grid."""
    ((weight, quantizer, variables),) = tfmot_internals.quantized_weights(layer)
    factor = quantizer.factor(weight, variables)
    snapped = quantizer.snapped(factor, wiring.read(variables["bits"]))
    return bool((np.abs(snapped / np.maximum(factor, 1e-30) - 1) > LEAST_GAIN).any())
