# SPDX-License-Identifier: Apache-2.0
"""The rescales of a quantised model: its layers, their widths, factors and multipliers."""

import dataclasses

import numpy as np
import tf_keras as keras

from keras_rat import configs, reach, tfmot_internals, wiring
from keras_rat.phases import Phase
from tflm_export.errors import UsageError
from tflm_export.grid import Grid


@dataclasses.dataclass(frozen=True)
class Multipliers:
    """The rescale multipliers of a layer as they are now.

    Attributes:
      layer: name of the layer.
      phase: WAITING while they follow the layer's weights, as they do before `calibrate`; LEARNING where they have
        values of their own that training moves, FROZEN where they stay as `calibrate` chose them.
      bits: width k of each, int32 [channels] or [1].
      value: the multipliers M_q that the forward pass uses, float64 of that shape.
      factor: the stock factors M of the present weights, ranges and batch-norm gains, float64 of that shape.
      unsnapped: what is rounded to the grid for `value`, float64 of that shape: the variables, 2**log2_multiplier;
        WAITING, the factors.
      distance: |log2 unsnapped - log2 decision| for the nearest decision, in octaves, float64 of that shape. A decision
        is where rounding to the grid changes over: halfway between two grid points; WAITING with `requantize`, which
        rounds up, at grid points. Infinite where there is none that training can reach, for dead channels.
      rate: octaves by which a multiplier moves as an optimizer moves its variable by 1, the `multiplier_rate`.
    """

    layer: str
    phase: Phase
    bits: np.ndarray
    value: np.ndarray
    factor: np.ndarray
    unsnapped: np.ndarray
    distance: np.ndarray
    rate: float

    @property
    def rescale_error(self) -> float:
        """Mean of |M_q / M - 1|.

        On the `keep` grid a layer's gain error; on the `requantize` grid how much coarser than stock its weights are.
        """
        return float(np.abs(self.value / self.factor - 1).mean())

    def changed(self, before: "Multipliers") -> float:
        """The fraction of multipliers that differ from those of an earlier moment."""
        return self.moved(before) / self.value.size

    def moved(self, before: "Multipliers") -> int:
        """How many multipliers differ from those of an earlier moment."""
        return int((self.value != before.value).sum())

    def distance_to_decision(self, before: "Multipliers") -> float:
        """The smallest `distance`, in octaves, of those that are as at an earlier moment; infinite if there are none.

        Infinite, too, in phase FROZEN: nothing moves them.
        """
        rest = self.value == before.value
        return float(self.distance.min(where=rest & (self.phase is not Phase.FROZEN), initial=np.inf))


def rescale_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The quantised layers with weights and k-bit multipliers, in execution order.

    Args:
      model: any tf_keras model.

    Returns:
      tfmot's wrappers, whose `layer` is the Keras layer; empty where `keras_rat` did not quantise the model.
    """
    return [
        layer for layer in model.layers if isinstance(getattr(layer, "quantize_config", None), configs.RescaleConfig)
    ]


def require_rescale_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """`rescale_layers`, of which there must be any; else raises ValueError, of what is no model UsageError."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"model must be one from keras_rat.quantize_model, got {type(model).__name__}")
    layers = rescale_layers(model)
    if not layers:
        raise ValueError("the model has no layers with k-bit rescales; make it with keras_rat.quantize_model")
    return layers


def widths(model: keras.Model) -> dict[str, int]:
    """The width k, 1 to 31, that every rescale of a model is to have in the end, by the name of its layer.

    Layers with weights, and those without that rescale: additions, global poolings and leaky ReLUs.
    `multipliers` has the present widths, which `callbacks.SnappingSchedule` lets come down to these.

    Args:
      model: any tf_keras model; empty where `keras_rat` did not quantise it.
    """
    return {name: config.bits for name, config in _rescaling(model).items()}


def grids(model: keras.Model) -> dict[str, Grid]:
    """The grid that every rescale of a model is to be on in the end, by the name of its layer, as in `widths`."""
    return {name: config.grid.exact(config.bits) for name, config in _rescaling(model).items()}


def _rescaling(model) -> dict:
    """What knows the `bits` and `grid` of every layer that rescales, by its name."""
    found = {}
    for layer in model.layers:
        config = getattr(layer, "quantize_config", None)
        if isinstance(config, configs.RescaleConfig):
            found[layer.name] = config.quantizer
        elif isinstance(config, configs.SumConfig):
            found[layer.name] = config
    return found


def multipliers(model: keras.Model) -> list[Multipliers]:
    """The multipliers of every layer with weights, in execution order: stock factors, widths, what may move them.

    Args:
      model: from `quantize_model` or `quantize_apply`, and calibrated; before, the ranges mean nothing.

    Raises:
      ValueError: the model has no layers with k-bit rescales.
    """
    return [
        _of_weights(layer, *each)
        for layer in require_rescale_layers(model)
        for each in tfmot_internals.quantized_weights(layer)
    ]


def _of_weights(layer, weight, quantizer, variables) -> Multipliers:
    phase, bits = Phase(int(wiring.read(variables["phase"]))), wiring.read(variables["bits"])
    factor = np.asarray(quantizer.factor(weight, variables), np.float64)
    if phase is Phase.WAITING:
        unsnapped, rounding = factor, quantizer.rounding
    else:
        unsnapped, rounding = quantizer.unsnapped(variables), "nearest"
        if not any(trained is variables["log2_multiplier"] for trained in layer.trainable_weights):
            phase = Phase.FROZEN

    def snapped(values):
        return quantizer.snapped(values, np.broadcast_to(bits, values.shape), rounding)

    return Multipliers(
        layer.name,
        phase,
        bits,
        quantizer.multiplier(weight, variables).numpy().astype(np.float64),
        factor,
        unsnapped,
        reach.to_decision(unsnapped, snapped),
        quantizer.multiplier_rate,
    )
