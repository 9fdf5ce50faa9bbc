# SPDX-License-Identifier: Apache-2.0
"""A gain and an offset for every channel: what rescalings, and normalisations without a layer to fold into, become."""

import numpy as np
import tf_keras as keras

from keras_rat.graph import activations

_CLIP = activations.unit_interval.__name__
SMALLEST_VARIANCE = 1e-7  # Keras's epsilon, which its Normalization divides by at least the root of


@keras.saving.register_keras_serializable("keras_rat")
class Channelwise(keras.layers.DepthwiseConv2D):
    """y[c] = kernel[c] * x[c] + bias[c], a DEPTHWISE_CONV_2D of one tap in files.

    Its one weight a channel is rounded to the scale that its multiplier implies, with `method="keep"`, too: on that
    grid a single weight would have the whole gain error.

    Args:
      activation: "linear", or `activations.unit_interval`.
    """

    def __init__(self, activation=None, **kwargs):
        activation = activations.unit_interval if activation == _CLIP else activation
        fixed = ("kernel_size", "strides", "padding", "depth_multiplier", "data_format", "dilation_rate", "use_bias")
        kwargs = {key: value for key, value in kwargs.items() if key not in fixed}
        super().__init__(1, activation=activation, **kwargs)

    def get_config(self):  # functions of others than Keras are not found again in files
        config = super().get_config()
        return config | {"activation": _CLIP} if self.activation is activations.unit_interval else config


@keras.saving.register_keras_serializable("keras_rat")
class HardSwish(keras.layers.Activation):
    """x * relu6(x + 3) / 6, a HARD_SWISH in files."""

    def __init__(self, **kwargs):
        super().__init__(activations.hard_silu, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["activation"]
        return config


@keras.saving.register_keras_serializable("keras_rat")
class ScaledAdd(keras.layers.Layer):
    """a + scale * b, a layer of InceptionResNetV2; quantised as a `Channelwise` and an Add.

    Args:
      scale: float.
    """

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        a, b = inputs
        return a + self.scale * b

    def get_config(self):
        return super().get_config() | {"scale": self.scale}


def weights(gain: np.ndarray, offset: np.ndarray, channels: int) -> list[np.ndarray]:
    """The weights of a `Channelwise` layer.

    Args:
      gain, offset: float, of one value or one for each channel.
      channels: how many there are.
    """
    gain, offset = (np.broadcast_to(np.ravel(values), (channels,)).astype(np.float32) for values in (gain, offset))
    return [gain.reshape(1, 1, channels, 1), offset.copy()]


def of_batch_norm(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """(gain, offset) of a batch normalisation at its moving statistics; float32 [channels]."""
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    gain = (layer.gamma.numpy() if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    return gain, (layer.beta.numpy() if layer.center else 0.0) - mean * gain


def of_normalization(layer: keras.layers.Normalization) -> tuple[np.ndarray, np.ndarray]:
    """(gain, offset) of keras.layers.Normalization; float32, in the shape that it broadcasts them in."""
    mean, deviation = np.asarray(layer.mean), np.maximum(np.sqrt(layer.variance), SMALLEST_VARIANCE)
    return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)


def of_rescaling(layer: keras.layers.Rescaling) -> tuple[np.ndarray, np.ndarray]:
    """(gain, offset) of keras.layers.Rescaling."""
    return np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
