# SPDX-License-Identifier: Apache-2.0
"""Gain errors of the `keep` grid, moved into the next layer before anything is quantised.

On that grid a channel's factor M is rounded to M_q, and its outputs are off by the gain g = M_q / M. A channel that is
made g times larger in float, with the next layer's weights of that channel divided by g, leaves the network as it was,
and has the factor M g = M_q: it lies on the grid, and no gain error is left. (Cross-layer equalisation, arXiv
1906.04721, moves factors in the same way, for another end.)
"""

import dataclasses
import math

import numpy as np
import tf_keras as keras

from keras_rat import tfmot_internals, wiring
from keras_rat.grid import SMALLEST
from keras_rat.observe import SIX
from keras_rat.rescales import rescale_layers
from keras_rat.scheme import MOVING, TIED
from tflm_export.setting import KEEP

_L = keras.layers
# f(g x) = g f(x) for every channel by itself and g > 0, zero padding among it; Reshape is looked at more closely.
_HOMOGENEOUS = (
    *(kind for kind in (*MOVING, *TIED) if kind is not _L.Permute),
    _L.GlobalAveragePooling2D,
    _L.GlobalAveragePooling3D,
)
_LINEAR = ("linear", "relu", "relu6", "NoOpActivation")
_LAST = "channels_last"
MOST_CLIPPED = 1 / 32  # of a channel's values: with more there, its gain error does less harm than another clip would
LEAST_GAIN = 2.0**-18  # off 1; less is the rounding of float32


@dataclasses.dataclass(frozen=True)
class Route:
    """From a layer with weights to the next one, through what hands on the gain of each channel.

    Attributes:
      batch_norm: that of the layer, if any.
      owners: by the name of each layer on the way that has a range, what it clips at: 6, or infinity.
      consumer: the next layer with weights.
    """

    batch_norm: keras.layers.Layer | None
    owners: dict[str, float]
    consumer: keras.layers.Layer


def absorb(model: keras.Model, extremes: dict[str, np.ndarray]) -> bool:
    """Moves the gain errors of a model's `keep` layers into the layers that follow, in execution order.

    A channel takes the nearest grid point, or the one below where its outputs would leave their range.

    Args:
      model: from `quantize_model`, with its ranges set.
      extremes: `observe.Seen.extremes`, which come to be those of the new network.

    Returns:
      Whether anything moved: factors of layers with one scale for all channels, and what such layers feed, are then not
      what they were.
    """
    moved, weighted = False, rescale_layers(model)
    for layer in weighted:
        route = _route(model, layer, weighted) if layer.quantize_config.quantizer.method == KEEP else None
        if route is not None:
            moved |= _absorb(model, layer, route, extremes)
    return moved


def _absorb(model, layer, route: Route, extremes) -> bool:
    ((weight, _, _),) = tfmot_internals.quantized_weights(layer)
    gain = _gain(model, layer, route, extremes)
    if np.abs(gain - 1).max() < LEAST_GAIN:
        return False
    if route.batch_norm is not None:
        _scale(route.batch_norm.gamma, gain)
        if route.batch_norm.center:
            _scale(route.batch_norm.beta, gain)
    else:
        _scale(weight, _along(layer, gain))
        if layer.layer.use_bias:
            _scale(layer.layer.bias, gain)
    ((following, _, _),) = tfmot_internals.quantized_weights(route.consumer)
    _scale(following, _against(route.consumer, following, 1 / gain))
    for owner in route.owners:
        seen = extremes[owner]
        extremes[owner] = seen * np.stack([*[np.tile(gain, seen.shape[1] // len(gain))] * 2, np.ones(seen.shape[1])])
    return True


def _gain(model, layer, route: Route, extremes) -> np.ndarray:
    """What a layer's outputs become larger by, so that factors are on the grid; float32 [channels].

    A channel that ReLU6 clips now and then becomes smaller, and is clipped at 6 / gain then: what there is above 6 is
    in the outputs afterwards, an error in few values. One that it clips often stays as it is.
    """
    ((weight, quantizer, variables),) = tfmot_internals.quantized_weights(layer)
    factor = quantizer.factor(weight, variables)
    bits, channels = wiring.read(variables["bits"]), _channels(layer)
    gain, lower = (quantizer.snapped(factor, bits, rounding) / factor for rounding in ("nearest", "down"))
    for owner, limit in route.owners.items():
        range_ = wiring.own_range(model.get_layer(owner))
        low, high = (1 + LEAST_GAIN) * wiring.read(range_.low), (1 + LEAST_GAIN) * min(wiring.read(range_.high), limit)
        seen = extremes[owner].reshape(3, -1, channels)  # flattened images have channels many times
        smallest, largest, clipped = seen[0].min(0), seen[1].max(0), seen[2].max(0)
        leaves, stays = (largest * gain > high) | (smallest * gain < low), (clipped > MOST_CLIPPED) & (limit < math.inf)
        if len(gain) == 1:
            leaves, stays = leaves.any(), stays.any()
        gain = np.where(stays, 1.0, np.where(leaves & (gain > 1), lower, gain))
    return np.broadcast_to(np.where(factor > SMALLEST, gain, 1.0), (channels,)).astype(np.float32)


def _scale(variable, factors) -> None:
    variable.assign(wiring.read(variable) * factors)


def _channels(layer) -> int:
    """How many output channels a layer with weights has."""
    return layer.output_shape[-1]


def _along(layer, gain):
    """Factors of output channels, as they lie in a layer's kernel."""
    kind = type(layer.layer)
    if kind is _L.Conv2DTranspose:
        return gain[:, None]
    return gain.reshape(-1, layer.layer.depth_multiplier) if kind is _L.DepthwiseConv2D else gain


def _against(layer, kernel, gain):
    """Factors of input channels, as they lie in a layer's kernel; a few, if these come several times, as pixels do."""
    kind = type(layer.layer)
    gain = np.tile(gain, layer.input_shape[-1] // len(gain))
    if kind is _L.Conv2DTranspose:
        return gain
    if kind is _L.Conv2D and layer.layer.groups > 1:  # [.., inputs of a group, outputs], group by group
        groups = layer.layer.groups
        return np.repeat(gain.reshape(groups, -1).T, kernel.shape[-1] // groups, axis=1)
    return gain[:, None]


def _route(model, layer, weighted) -> Route | None:
    """The way on from a layer to one of the weighted ones; None where a gain cannot go."""
    _, batch_norm = wiring.sink(layer)
    if batch_norm is not None and not batch_norm.scale:
        return None
    owners, here = {}, layer
    while True:
        limit = SIX if _clips(here) else math.inf
        if wiring.own_range(here) is not None:
            owners[here.name] = limit
        elif limit < math.inf:  # of its outputs the extremes are not known
            return None
        following = wiring.outputs(here)
        if len(following) != 1 or here.name in model.output_names or not _is_homogeneous(here, here is layer):
            return None
        here = following[0]
        if here in weighted:
            return Route(batch_norm, owners, here) if here.input_shape[-1] % _channels(layer) == 0 else None


def _clips(layer) -> bool:
    """Whether a layer's outputs end at 6."""
    plain = wiring.inner(layer)
    return getattr(plain, "max_value", None) is not None or wiring.activation_name(plain) == "relu6"


def _is_homogeneous(layer, is_weighted: bool) -> bool:
    """Whether a layer hands on the gain of every channel."""
    plain = wiring.inner(layer)
    if is_weighted or type(plain) is _L.Activation:
        return wiring.activation_name(plain) in _LINEAR
    if isinstance(plain, _L.ReLU):
        return not plain.threshold
    if hasattr(plain, "moving_variance"):
        return True
    if isinstance(plain, _L.Reshape):
        before, after = layer.input_shape[-1], layer.output_shape[-1]
        return None not in (before, after) and after % before == 0
    return isinstance(plain, _HOMOGENEOUS) and getattr(plain, "data_format", _LAST) in (None, _LAST)
