"""The networks the benchmarks train."""

import tf_keras as keras

layers = keras.layers


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
