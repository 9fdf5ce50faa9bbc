# SPDX-License-Identifier: Apache-2.0
"""The rescales of a quantised model: its layers, their widths, factors and multipliers."""

import dataclasses

import numpy as np
import tf_keras as keras

from keras_rat import configs, tfmot_internals, wiring
from tflm_export.grid import Grid


@dataclasses.dataclass(frozen=True)
class Multipliers:
    """The rescale multipliers of a layer as they are now.

    Attributes:
      layer: name of the layer.
      bits: width k of each, int32 [channels] or [1].
      value: the multipliers M_q that the forward pass uses, float64 of that shape.
      factor: the stock factors M of the present weights, ranges and batch-norm gains, float64 of that shape.
    """

    layer: str
    bits: np.ndarray
    value: np.ndarray
    factor: np.ndarray

    @property
    def rescale_error(self) -> float:
        """Mean of |M_q / M - 1|.

        On the `keep` grid a layer's gain error; on the `requantize` grid how much coarser than stock its weights are.
        """
        return float(np.abs(self.value / self.factor - 1).mean())

    def changed(self, before: "Multipliers") -> float:
        """The fraction of multipliers that differ from those of an earlier moment."""
        return float((self.value != before.value).mean())


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
    """`rescale_layers`, of which there must be any; else raises ValueError."""
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
    """The multipliers, stock factors and present widths of every layer with weights, in execution order.

    Args:
      model: from `quantize_model` or `quantize_apply`, and calibrated; before, the ranges mean nothing.

    Raises:
      ValueError: the model has no layers with k-bit rescales.
    """
    return [
        Multipliers(
            layer.name,
            wiring.read(variables["bits"]),
            quantizer.multiplier(weight, variables).numpy().astype(np.float64),
            quantizer.factor(weight, variables),
        )
        for layer in require_rescale_layers(model)
        for weight, quantizer, variables in tfmot_internals.quantized_weights(layer)
    ]
