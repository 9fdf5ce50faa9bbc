# SPDX-License-Identifier: Apache-2.0
"""Models of many convolutions of random sizes on one input, to be lowered for a core."""

import numpy as np

from tests.helpers import definition
from tests.helpers.tflite_builder import TFLiteBuilder, schema

KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "POINTWISE", "BOTH")


def fan(seed: int, layers: int = 10, batch: int = 1) -> bytes:
    """A model whose output is every element of every layer's output.

    Kernels of 1x1 to 4x4 (half of the depthwise ones 3x3), strides 1 to 3, a dilation now and then, SAME and VALID;
    channels and images of any size; weights all over int8, at its ends, or mostly zero.
    """
    random = np.random.default_rng(seed)
    b = TFLiteBuilder(seed)
    channels = int(random.choice([1, 2, 3, 4, 8, 10, 12, 20]))
    height, width = (int(v) for v in random.integers(3, 12, 2))
    x = b.input([batch, height, width, channels], zero_point=int(random.choice([-128, -3, 0, 127])))
    parts = []
    for i in range(layers):
        kind = str(random.choice(KINDS))
        if kind == "BOTH":  # a depthwise layer behind a convolution that nothing else reads
            before = _layer(b, random, x, f"before{i}", "CONV_2D")
            parts.append(_flat(b, _layer(b, random, before, f"layer{i}", "DEPTHWISE_CONV_2D")))
        else:
            parts.append(_flat(b, _layer(b, random, x, f"layer{i}", kind)))
    y = b.tensor("all", [batch, sum(b.shape(p)[1] for p in parts)], scale=_SCALE, zero_point=_ZERO)
    b.operator("CONCATENATION", parts, [y], 2, axis=1)
    return b.build(x, y)


_SCALE, _ZERO = 0.0613, -5


def _flat(b, y: int) -> int:
    batch, *rest = b.shape(y)
    return b.reshape(y, [batch, int(np.prod(rest))], name=f"flat{y}")


def _layer(b, random, x: int, name: str, kind: str) -> int:
    batch, height, width, inputs = b.shape(x)
    depthwise = kind == "DEPTHWISE_CONV_2D"
    square = depthwise and random.random() < 0.7
    kernel = [1, 1] if kind == "POINTWISE" else [3, 3] if square else random.integers(1, 5, 2).tolist()
    stride = [1, 1] if random.random() < 0.5 else [int(random.integers(1, 4))] * 2
    if random.random() < 0.2:
        stride = random.integers(1, 4, 2).tolist()
    dilation = [1, 1] if square or random.random() < 0.8 else random.integers(1, 3, 2).tolist()
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = random.random() < 0.6 or reach[0] > height or reach[1] > width
    size = [
        definition.output_size(*axis, same)[0] for axis in zip((height, width), kernel, stride, dilation, strict=True)
    ]
    channels = inputs * int(random.choice([1, 1, 1, 2])) if depthwise else int(random.choice([1, 2, 4, 6, 7, 12, 16]))
    taps = kernel[0] * kernel[1] * (1 if depthwise else inputs)
    shape = [1, *kernel, channels] if depthwise else [channels, *kernel, inputs]
    axis = 3 if depthwise else 0
    w, bias = b.weights(x, shape, axis, taps, name, None, True, True, _SCALE)
    extreme = random.random()
    if extreme < 0.3:
        data = random.choice([-127, 127], shape) if extreme < 0.2 else np.where(random.random(shape) < 0.9, 0, 100)
        b.model.buffers[b.buffer(w)].data = data.astype(np.int8).reshape(-1).view(np.uint8)
    y = b.tensor(name, [batch, *size, channels], scale=_SCALE, zero_point=_ZERO)
    options = {"depthMultiplier": channels // inputs} if depthwise else {}
    activation = str(random.choice(["NONE", "NONE", "RELU6"]))
    padding = schema.Padding.SAME if same else schema.Padding.VALID
    b.operator(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, bias], [y], 3, activation=activation, padding=padding,
        strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0], dilationWFactor=dilation[1], **options,
    )  # fmt: skip
    return y
