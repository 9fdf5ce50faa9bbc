# SPDX-License-Identifier: Apache-2.0
"""Activations of Keras 3 that tf_keras has not, or has under the same name for another function.

They are registered with tf_keras, so that models with them save and load once keras_rat is imported.
"""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("keras_rat")
def hard_sigmoid_of_keras_3(x: tf.Tensor) -> tf.Tensor:
    """relu6(x + 3) / 6, element by element.

    Under the name hard_sigmoid tf_keras 2.16 would read its own from files, clip(0.2 x + 0.5, 0, 1).
    """
    return tf.nn.relu6(x + 3.0) / 6.0


@keras.saving.register_keras_serializable("keras_rat")
def hard_silu(x: tf.Tensor) -> tf.Tensor:
    """x relu6(x + 3) / 6, element by element; also called hard swish (arXiv 1905.02244)."""
    return x * hard_sigmoid_of_keras_3(x)


@keras.saving.register_keras_serializable("keras_rat")
def unit_interval(x: tf.Tensor) -> tf.Tensor:
    """clip(x, 0, 1), element by element, rounded to multiples of 1 / 255: what an int8 output of this range does.

    The converter takes it for the range of the layer before, without an operator of its own.
    """
    return tf.quantization.fake_quant_with_min_max_args(x, 0.0, 1.0)
