# SPDX-License-Identifier: Apache-2.0
"""The slopes of PReLU layers: 8 bits at a scale that the converter makes of the largest one."""

import tensorflow as tf

from keras_rat.grid import K_BITS, SMALLEST, family_of
from keras_rat.phases import PhasedQuantizer
from tflm_export.rescale import check_bits

_LARGEST = 127


class SlopesQuantizer(PhasedQuantizer):
    """Slopes alpha as integers round(alpha / S) times a scale on the grid, the nearest to S = max|alpha| / 127.

    The converter makes a scale of the largest slope, and of nothing else; so all of them go with it to the grid, by at
    most 2**-k, as the one slope of a leaky ReLU does. The gradient is straight through both roundings.

    Args:
      bits: width k of the scale.
      grid: the `keras_rat.grid.Family` that it is of, or its name.
    """

    def __init__(self, bits, grid=K_BITS):
        self.bits = check_bits(bits)
        self.grid = family_of(grid)

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if self.observing:
            return inputs
        slopes = tf.stop_gradient(inputs)
        stock = tf.maximum(tf.reduce_max(tf.abs(slopes)) / _LARGEST, SMALLEST)
        scale = self.grid.snap(tf.reshape(stock, [1]), tf.constant([self.bits]), "nearest")[0]
        return inputs + (tf.round(slopes / stock) * scale - slopes) if training else tf.round(slopes / stock) * scale

    def get_config(self):
        return {"bits": self.bits, "grid": self.grid.name}
