# SPDX-License-Identifier: Apache-2.0
"""Ranges too small to compute with, as of layers whose outputs are all but zero, and their growth.

Outputs of a dead ReLU, or deep in a network with random weights, have ranges of 1e-6 and less. What is too small for
them is not what is in them but around them:

- The converter replaces a range that spans at most 1e-6 by another, with another zero point, so that a factor is not
  what it was trained to be (`kNearZeroTolerance` of its quantization utilities).
- A small output scale means a large factor `Sx * Sw / Sy`, and XNNPACK refuses a model with one of 256 or more.
- A small input scale means a small unit `Sx * Sw` of the accumulators. A bias of more than 2**31 of them the converter
  clamps, without a word, and accumulators overflow before.

A range that grows loses steps for what is in it. What is in such a one is next to nothing beside what is around it.
"""

import math

import numpy as np
import tf_keras as keras

from keras_rat import configs, tfmot_internals, wiring
from keras_rat.rescales import rescale_layers

SMALLEST_SPAN = 2.0**-18  # of a range; what the converter replaces, and a little
LARGEST_FACTOR = 64.0  # a quarter of what XNNPACK takes: rounding to one bit, and training, may double it
LARGEST_BIAS = 2.0**28  # units, at calibration; training may make it larger
OVERFLOWING_BIAS = 2.0**30
ALIVE = 2.0**-8  # of a layer's largest factor, below which a channel's own weights are what is small


def widen(model: keras.Model) -> None:
    """Grows the ranges of a model, by powers of two, until what is computed with them can be.

    Others stay as they are; those that the model's activations fix (softmax) do, too.

    Args:
      model: quantised, its ranges measured.
    """
    grown = True
    while grown:  # a range may be an input here and an output there; each growth mends one and cannot undo another
        grown = False
        for range_ in wiring.own_ranges(model):
            grown |= _grow(range_, SMALLEST_SPAN / float(range_.span()))
        for layer in rescale_layers(model):
            links = wiring.links(layer)
            for factor, bias in _factors(layer):
                grown |= _grow(links.input, bias / LARGEST_BIAS)
                grown |= _grow(links.output, factor / LARGEST_FACTOR)
        for layer in model.layers:
            if isinstance(getattr(layer, "quantize_config", None), configs.SumConfig):
                target, _ = wiring.sink(layer)
                sources = [range_ for range_ in wiring.source_ranges(layer) if range_ is not None]
                ratios = [float(range_.span() / target.span()) for range_ in sources]
                grown |= _grow(target, max(ratios, default=0.0) / LARGEST_FACTOR)


def overflowing(model: keras.Model) -> dict[str, float]:
    """The largest bias, in units of the accumulators, of the layers that have one their accumulators cannot hold.

    As training leaves where the inputs of a layer were all zero at calibration, and are not now, or its bias grew.
    """
    found = {layer.name: bias for layer in rescale_layers(model) for _, bias in _factors(layer, trained=True)}
    return {name: bias for name, bias in found.items() if bias > OVERFLOWING_BIAS}


def _factors(layer, trained: bool = False):
    """(largest factor, largest bias in units of the accumulators) of each quantised weight of a layer."""
    links = wiring.links(layer)
    output_scale = float(links.output.scale())
    bias = _bias(layer, links)
    for weight, quantizer, variables in tfmot_internals.quantized_weights(layer):
        of_channels = (
            quantizer.multiplier(weight, variables).numpy() if trained else quantizer.factor(weight, variables)
        )
        of_channels = np.asarray(of_channels, np.float64)
        alive = of_channels >= ALIVE * of_channels.max()
        units = np.divide(bias, of_channels * output_scale, out=np.zeros(np.broadcast(bias, alive).shape), where=alive)
        yield float(of_channels.max()), float(units.max(initial=0.0))


def _bias(layer, links) -> np.ndarray:
    """|bias| of the layer's channels, with what a batch normalisation adds; float64 [channels] or [1]."""
    bias = getattr(wiring.inner(layer), "bias", None)
    bias = np.zeros(1) if bias is None else wiring.read(bias).astype(np.float64)
    bn = links.batch_norm
    if bn is not None:
        bias = (bias - wiring.read(bn.moving_mean)) * links.gain().numpy()
        bias = bias + (wiring.read(bn.beta) if bn.center else 0.0)
    return np.abs(bias).ravel()


def _grow(range_: wiring.Range, by: float) -> bool:
    """Makes a range larger by a power of two, at least `by`; whether it did: not by 1 or less, nor a fixed one."""
    if range_.phase is None or not 1 < by < math.inf:
        return False
    growth = 2.0 ** math.ceil(math.log2(by))
    range_.low.assign(range_.low * growth)
    range_.high.assign(range_.high * growth)
    return True
