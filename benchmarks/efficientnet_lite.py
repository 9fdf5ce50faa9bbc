# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 in tf_keras or Keras 3, which neither's applications have.

EfficientNetB0 (arXiv 1905.11946) for int8 kernels: ReLU6 in place of swish, no squeeze-and-excite, and a stem and a
head of fixed width. After https://github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

# Kernel, repeats, filters, expansion, stride of each stage.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
STEM, HEAD = 32, 1280


def efficientnet_lite0(keras, input_shape: tuple[int, int, int], classes: int):
    """The network with random weights, and logits for its output.

    Args:
      keras: the module, tf_keras or keras.
      input_shape: height, width and channels of an image.
      classes: how many logits.
    """
    layers = keras.layers

    def norm(x, relu=True):
        x = layers.BatchNormalization(epsilon=1e-3)(x)
        return layers.ReLU(6.0)(x) if relu else x

    def conv(x, filters, kernel=1, stride=1, relu=True):
        return norm(layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x), relu)

    def block(x, kernel, filters, expansion, stride):
        y = conv(x, x.shape[-1] * expansion) if expansion > 1 else x
        y = norm(layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False)(y))
        y = conv(y, filters, relu=False)
        return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y

    inputs = keras.Input(input_shape)
    x = conv(inputs, STEM, 3, 2)
    for kernel, repeats, filters, expansion, stride in STAGES:
        for number in range(repeats):
            x = block(x, kernel, filters, expansion, stride if number == 0 else 1)
    x = layers.GlobalAveragePooling2D()(conv(x, HEAD))
    return keras.Model(inputs, layers.Dense(classes)(layers.Dropout(0.2)(x)), name="efficientnet_lite0")
