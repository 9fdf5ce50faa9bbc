# SPDX-License-Identifier: Apache-2.0
"""The networks the benchmarks train."""

import tf_keras as keras

layers = keras.layers


def build(name: str, arguments: dict) -> keras.Model:
    """The network that a function of this module makes."""
    return globals()[name](**arguments)


def digits_cnn() -> keras.Model:
    """A small CNN for 8x8 digits with every kind of rescale: [rows, 8, 8, 1] to logits [rows, 10].

    Convolution, depthwise and pointwise convolutions with batch normalisation, ReLU and ReLU6, a residual addition,
    max pooling, global average pooling and a Dense head; 11,000 parameters.
    """

    def normalised(x, layer, activation):
        x = layer(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return activation(x) if activation is not None else x

    image = keras.Input((8, 8, 1), name="image")
    conv = layers.Conv2D(24, 3, padding="same", use_bias=False, name="stem")
    x = normalised(image, conv, layers.ReLU(name="stem_relu"))
    skip = x
    conv = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="block1_depthwise")
    x = normalised(x, conv, layers.ReLU(6.0, name="block1_relu6"))
    x = normalised(x, layers.Conv2D(24, 1, use_bias=False, name="block1_pointwise"), None)
    x = layers.Add(name="residual")([x, skip])
    x = layers.ReLU(name="residual_relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    conv = layers.Conv2D(32, 3, padding="same", use_bias=False, name="block2")
    x = normalised(x, conv, layers.ReLU(name="block2_relu"))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="block3_depthwise")(x)
    x = layers.Conv2D(48, 1, activation="relu", name="block3_pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="global_pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="digits_cnn")


def _normalised(x, layer, relu: float | str | None = "relu"):
    """A layer without bias, batch normalisation and a ReLU, a ReLU6 (6.0) or nothing."""
    x = layers.BatchNormalization(momentum=0.9)(layer(x))
    if relu is None:
        return x
    return layers.ReLU()(x) if relu == "relu" else layers.ReLU(relu)(x)


def _conv(width: int, kernel, strides=1) -> keras.layers.Layer:
    return layers.Conv2D(width, kernel, strides, padding="same", use_bias=False)


def _depthwise(kernel, strides=1) -> keras.layers.Layer:
    return layers.DepthwiseConv2D(kernel, strides, padding="same", use_bias=False)


def _head(x, inputs, classes: int, name: str) -> keras.Model:
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def ds_cnn(shape, classes: int, width: int, stem, strides, kernels) -> keras.Model:
    """A depthwise-separable CNN as MLPerf Tiny's for keyword spotting, to logits [rows, classes].

    Args:
      shape: of an input row.
      width: channels of every layer.
      stem, strides: kernel and strides of the first convolution.
      kernels: one depthwise kernel and stride for each block.
    """
    inputs = keras.Input(shape)
    x = _normalised(inputs, _conv(width, stem, strides))
    for kernel, stride in kernels:
        x = _normalised(x, _depthwise(kernel, stride))
        x = _normalised(x, _conv(width, 1))
    return _head(x, inputs, classes, "ds_cnn")


def resnet8(shape, classes: int, width: int = 16, strides: int = 2) -> keras.Model:
    """MLPerf Tiny's ResNet8; logits [rows, classes].

    Args:
      shape: of an input row.
      width: channels of the first layer.
      strides: of the first convolution, 1 in MLPerf Tiny; with 2 the network is a quarter of the work.
    """
    inputs = keras.Input(shape)
    x = _normalised(inputs, _conv(width, 3, strides))
    for factor, stride in ((1, 1), (2, 2), (4, 2)):
        skip = x
        x = _normalised(x, _conv(factor * width, 3, stride))
        x = _normalised(x, _conv(factor * width, 3), None)
        if stride > 1:
            skip = _normalised(skip, _conv(factor * width, 1, stride), None)
        x = layers.ReLU()(layers.Add()([x, skip]))
    return _head(x, inputs, classes, "resnet8")


def mobilenet_v2(shape, classes: int, width: int = 16, expansion: int = 3) -> keras.Model:
    """A small MobileNetV2: inverted residuals with linear bottlenecks and ReLU6; logits [rows, classes]."""
    inputs = keras.Input(shape)
    x = _normalised(inputs, _conv(width, 3, 2), 6.0)
    for channels, stride in ((width, 1), (24, 2), (32, 2), (32, 1)):
        y = _normalised(x, _conv(expansion * x.shape[-1], 1), 6.0)
        y = _normalised(y, _depthwise(3, stride), 6.0)
        y = _normalised(y, _conv(channels, 1), None)
        x = layers.Add()([x, y]) if y.shape == x.shape else y
    return _head(_normalised(x, _conv(96, 1), 6.0), inputs, classes, "mobilenet_v2")


def autoencoder(size: int, widths=(128, 64, 16, 64, 128)) -> keras.Model:
    """Dense layers through a bottleneck, [rows, size] to [rows, size]; their weights are quantised per tensor."""
    inputs = x = keras.Input((size,))
    for width in widths:
        x = layers.Dense(width, "relu")(x)
    return keras.Model(inputs, layers.Dense(size)(x), name="autoencoder")
