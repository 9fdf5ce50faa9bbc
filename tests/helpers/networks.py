# SPDX-License-Identifier: Apache-2.0
"""Small float networks for 8x8x1 inputs with random batch-norm statistics, and readers of quantised ones."""

import re

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from keras_rat import tfmot_internals

L = keras.layers


def functional(build):
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, build(inputs))


def conv_bn(x, filters, size=3, relu=True, **kwargs):
    x = L.BatchNormalization()(L.Conv2D(filters, size, padding="same", use_bias=False, **kwargs)(x))
    return L.ReLU()(x) if relu else x


def one_convolution(filters):
    def build(x):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(filters, 3, strides=2, use_bias=False)(x)))
        return L.Dense(10)(L.Flatten()(x))

    return functional(build)


def residual():
    def build(x):
        x = shortcut = conv_bn(x, 8)
        x = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = L.ReLU(6.0)(x)
        x = conv_bn(x, 8, 1, relu=False)
        x = L.ReLU()(L.Add()([x, shortcut]))
        x = shortcut = L.MaxPooling2D()(x)
        x = L.Add()([shortcut, conv_bn(x, 8, relu=False)])
        x = L.GlobalAveragePooling2D()(x)
        return L.Dense(10)(L.Dense(16, activation="relu")(x))

    return functional(build)


def sequential():
    return keras.Sequential(
        [
            L.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 1)),
            L.MaxPooling2D(),
            L.Conv2D(8, 3, activation="relu6", padding="same"),
            L.Dropout(0.1),
            L.Flatten(),
            L.Dense(16, activation="relu"),
            L.Dense(10),
        ]
    )


def separate_relu():
    def build(x):
        x = L.ReLU()(L.Conv2D(8, 3)(x))
        x = L.ReLU(6.0)(L.DepthwiseConv2D(3)(x))
        x = L.Activation("relu")(L.Conv2D(8, 1)(x))
        x = L.Activation("relu6")(L.Conv2D(8, 1)(x))
        x = L.ReLU()(L.Dense(16)(L.Flatten()(x)))
        return L.Dense(10)(x)

    return functional(build)


def autoencoder():
    model = keras.Sequential([L.Flatten(input_shape=(8, 8, 1))])
    for units in (32, 8, 32):
        model.add(L.Dense(units, use_bias=False))
        model.add(L.BatchNormalization())
        model.add(L.Activation("relu"))
    model.add(L.Dense(64))
    return model


def softmax():
    return keras.Sequential(
        [
            L.Flatten(input_shape=(8, 8, 1)),
            L.Dense(16, activation="relu"),
            L.Dense(16, activation="relu"),
            L.Dense(10, activation="softmax"),
        ]
    )


def average_pool():
    def build(x):
        x = L.AveragePooling2D()(conv_bn(x, 8))
        x = L.Conv2D(8, 3, activation="relu")(x)
        return L.Dense(10)(L.Flatten()(x))

    return functional(build)


def depth_multiplier():
    def build(x):
        x = conv_bn(x, 4)
        x = L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x))
        x = L.ReLU()(x)
        return L.Dense(10)(L.GlobalAveragePooling2D()(x))

    return functional(build)


def negative_gamma():
    """Every third gamma is below 0."""
    model = functional(lambda x: L.Dense(10)(L.Flatten()(conv_bn(L.MaxPooling2D()(conv_bn(x, 8)), 8))))
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.gamma.assign(layer.gamma * np.where(np.arange(8) % 3, 1, -1))
    return model


def separable():
    def build(x):
        x = conv_bn(x, 8)
        x = L.SeparableConv2D(8, 3, activation="relu")(x)
        return L.Dense(10)(L.GlobalAveragePooling2D()(x))

    return functional(build)


def concatenate():
    def build(x):
        x = conv_bn(x, 8)
        x = L.Concatenate()([conv_bn(x, 4, 1), conv_bn(x, 4, 3)])
        return L.Dense(10)(L.Flatten()(L.MaxPooling2D()(x)))

    return functional(build)


def strided():
    def build(x):
        x = L.Conv2D(8, 3, strides=2, use_bias=False)(L.ZeroPadding2D(((0, 1), (0, 1)))(x))
        x = L.ReLU(6.0)(L.BatchNormalization()(x))
        x = L.DepthwiseConv2D(3, strides=2, use_bias=False)(L.ZeroPadding2D(((0, 1), (0, 1)))(x))
        x = L.ReLU(6.0)(L.BatchNormalization()(x))
        return L.Dense(10)(L.Flatten()(x))

    return functional(build)


def flatten_dense():
    return keras.Sequential([L.Flatten(input_shape=(8, 8, 1)), L.Dense(10)])


def input_branches():
    """Both branches of the addition read the model's input, and no range is pinned but the input's and output's."""

    def build(x):
        x = L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1)(x)])
        return L.Dense(10)(L.Flatten()(x))

    return functional(build)


def pre_activation():
    """The batch normalisation feeds a ReLU and an addition."""

    def build(x):
        x = conv_bn(x, 4, relu=False)
        x = L.Add()([x, conv_bn(L.ReLU()(x), 4, relu=False)])
        return L.Dense(10)(L.Flatten()(x))

    return functional(build)


def relu_after_max_pool():
    return functional(lambda x: L.Dense(10)(L.Flatten()(L.ReLU()(L.MaxPooling2D()(L.Conv2D(4, 3)(x))))))


def relu_after_average_pool():
    return functional(lambda x: L.Dense(10)(L.Flatten()(L.ReLU()(L.AveragePooling2D()(L.Conv2D(4, 3)(x))))))


def hidden_sigmoid():
    return functional(lambda x: L.Dense(10)(L.Dense(8, activation="sigmoid")(L.Flatten()(x))))


def one_logit():
    return functional(lambda x: L.Dense(1)(L.Dense(8, activation="relu")(L.Flatten()(x))))


def separable_batch_norm():
    def build(x):
        x = L.SeparableConv2D(8, 3, use_bias=False)(conv_bn(x, 4))
        return L.Dense(10)(L.Flatten()(L.ReLU()(L.BatchNormalization()(x))))

    return functional(build)


def dead_channel():
    """A channel whose weights are all 0."""
    model = functional(lambda x: L.Dense(10)(L.Flatten()(L.Conv2D(4, 3, activation="relu")(x))))
    kernel = model.layers[1].kernel
    kernel.assign(kernel * [1.0, 0.0, 1.0, 1.0])
    return model


def zero_gamma():
    """A channel whose gamma is 0, as residual networks start with."""
    model = functional(lambda x: L.Dense(10)(L.Flatten()(conv_bn(x, 4))))
    model.layers[2].gamma.assign([1.0, 0.0, 1.0, 1.0])
    return model


ALL = (
    residual,
    sequential,
    separate_relu,
    autoencoder,
    softmax,
    average_pool,
    depth_multiplier,
    negative_gamma,
    separable,
    concatenate,
    strided,
    flatten_dense,
)
CORNERS = (
    input_branches,
    pre_activation,
    relu_after_max_pool,
    relu_after_average_pool,
    hidden_sigmoid,
    one_logit,
    separable_batch_norm,
    dead_channel,
    zero_gamma,
)


def build(network, seed=0):
    """A float network with random biases and batch-norm statistics; layer names start over."""
    keras.backend.reset_uids()
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    model = network()
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            channels = layer.gamma.shape
            layer.gamma.assign(layer.gamma * random.uniform(0.4, 1.6, channels))
            layer.beta.assign(random.normal(0, 0.3, channels))
            layer.moving_mean.assign(random.normal(0, 0.3, channels))
            layer.moving_variance.assign(random.uniform(0.2, 2, channels))
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(random.normal(0, 0.2, layer.bias.shape))
    return model


def _name(layer):
    return re.sub(r"^quantize_layer_\d+$", "quantize_layer", layer.name)


def _range_ends(layer):
    """(variable, 0 for the low end or 1 for the high) of a layer's activation range, in tfmot's naming and ours."""
    for variable in layer.weights:
        found = re.search(r"(output|activation|quantize_layer(_\d+)?)_(min|max):0$", variable.name)
        if found:
            yield variable, int(found[3] == "max")


def ranges(model):
    """{layer name: (low, high)} of every activation range of a quantised model, tfmot's or ours, by variable names."""
    found = {}
    for layer in model.layers:
        ends = {end: float(tf.convert_to_tensor(variable)) for variable, end in _range_ends(layer)}
        if ends:
            found[_name(layer)] = ends[0], ends[1]
    return found


def tfmot_twin(model, quantized):
    """A float network under plain tfmot 8-bit quantisation, with the activation ranges of ours."""
    twin = tfmot.quantization.keras.quantize_model(model)
    wanted = ranges(quantized)
    for layer in twin.layers:
        for variable, end in _range_ends(layer):
            variable.assign(wanted[_name(layer)][end])
        wrapped = isinstance(layer, tfmot.quantization.keras.QuantizeWrapper)
        for weight, _, variables in tfmot_internals.quantized_weights(layer) if wrapped else ():
            axes = tuple(range(weight.shape.rank - 1)) if variables["max_var"].shape.rank else None
            largest = np.abs(weight.numpy()).max(axes)
            variables["min_var"].assign(-largest)
            variables["max_var"].assign(largest)
    return twin
