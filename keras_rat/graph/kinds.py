# SPDX-License-Identifier: Apache-2.0
"""Kinds of layers, and the names of activations."""

import tf_keras as keras

from keras_rat.graph.channelwise import Channelwise

# Layers with weights and multipliers of their own.
WEIGHTED = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
    Channelwise,
)


def activation_name(activation) -> str:
    """The name of a Keras activation function or tfmot activation object."""
    return getattr(activation, "__name__", type(activation).__name__)
