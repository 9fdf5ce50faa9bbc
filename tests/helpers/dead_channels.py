# SPDX-License-Identifier: Apache-2.0
"""Small networks of images with channels that are constant, or that nobody reads."""

import random
from collections.abc import Callable

import numpy as np

from tests.helpers.tflite_builder import TFLiteBuilder, pack, schema, unpack

_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # the output channels' axis of the weights
_CODES = {getattr(schema.BuiltinOperator, name): name for name in _AXES}
LARGEST_IMAGE = 49  # pixels of what grows
LAYERS: dict[str, Callable] = {}


def layer(function):
    """Decorator: the function adds a layer on one of the images of a network; it returns new ones, latest last."""
    LAYERS[function.__name__] = function
    return function


class Network:
    """A network as it grows: mostly a chain, with branches.

    Attributes:
      source: of all choices.
      b: what builds it.
      images: its tensors [1, height, width, channels], latest last.
    """

    def __init__(self, seed: int):
        self.source, self.b = random.Random(seed), TFLiteBuilder(seed)
        shape = [1, self.source.randint(3, 7), self.source.randint(3, 7), self.one((1, 3, 4, 8))]
        self.images = [self.b.input(shape, zero_point=self.one((-128, -3, 0, 127)))]

    def one(self, choices):
        return self.source.choice(list(choices))

    def name(self) -> str:
        return f"t{len(self.b.graph.tensors)}"

    def scaled(self) -> dict:
        """Name, scale and zero point of a tensor of its own."""
        scale, zero_point = self.source.uniform(0.02, 0.09), self.one((-128, -128, -5, 0, 11, 127))
        return {"name": self.name(), "scale": scale, "zero_point": zero_point}

    def like(self, x: int, shape) -> int:
        return self.b.tensor(self.name(), shape, scale=self.b.scale(x), zero_point=self.b.zero_point(x))

    def indices(self, values) -> int:
        return self.b.tensor(self.name(), np.shape(values), type="INT32", data=np.array(values, np.int32))

    def activation(self) -> str:
        return self.one(("NONE", "RELU", "RELU6", "RELU_N1_TO_1"))

    def padding(self, x: int) -> str:
        return self.one(("SAME", "SAME", "VALID")) if min(self.b.shape(x)[1:3]) >= 3 else "SAME"

    def other(self, x: int, places_only: bool = False) -> int:
        """An image of the same shape, or only height and width: often the same one."""
        end = 3 if places_only else 4
        return self.one(y for y in self.images if self.b.shape(y)[:end] == self.b.shape(x)[:end])

    def grow(self) -> None:
        x = self.one(self.images[-3:]) if self.source.random() < 0.3 else self.images[-1]
        self.images += LAYERS[self.one(LAYERS)](self, x) or []


@layer
def conv(n: Network, x):
    return [_conv(n, x, n.one((2, 3)), stride=n.one((1, 1, 2)))]


@layer
def strided(n: Network, x):
    return [_conv(n, x, n.one((1, 3)), stride=2)]


@layer
def pointwise(n: Network, x):
    return [_conv(n, x, 1)]


@layer
def projected(n: Network, x):
    return [_conv(n, x, 1)]


def _conv(n: Network, x, kernel, **more):
    channels, per_channel, bias = n.one((2, 4, 6, 8, 12)), n.source.random() < 0.7, n.source.random() < 0.8
    more |= {"per_channel": per_channel, "bias": bias, "activation": n.activation()}
    return n.b.conv(x, channels, kernel, padding=n.padding(x), **more, **n.scaled())


@layer
def depthwise(n: Network, x):
    multiplier = n.one((1, 1, 1, 2)) if n.b.shape(x)[3] <= 16 else 1
    more = {"stride": n.one((1, 1, 2)), "activation": n.activation(), "padding": n.padding(x)}
    return [n.b.depthwise(x, multiplier, n.one((2, 3, 3)), **more, **n.scaled())]


@layer
def padded_depthwise(n: Network, x):
    return [n.b.depthwise(x, 1, 3, activation=n.activation(), **n.scaled())]


@layer
def transpose_conv(n: Network, x):
    channels = n.one((2, 4, 6))
    return [n.b.transpose_conv(x, channels, **n.scaled())] if _is_small(n, x) else None


@layer
def add(n: Network, x):
    return [n.b.add(x, n.other(x), activation=n.activation(), **n.scaled())]


@layer
def add_constant(n: Network, x):
    shape = n.b.shape(x)
    constant = n.b.constant(n.one((shape[3:], (1, 1, 1, shape[3]), (1,), shape)), name=n.name())
    return [n.b.add(*n.source.sample([x, constant], 2), **n.scaled())]


@layer
def multiply(n: Network, x):
    return [n.b.derived("MUL", [x, n.other(x)], **n.scaled())]


@layer
def maximum(n: Network, x):
    scaled = n.scaled() | {"scale": n.b.scale(x), "zero_point": n.b.zero_point(x)}
    return [n.b.derived("MAXIMUM", [x, n.other(x)], **scaled)]


@layer
def concat(n: Network, x):
    real = {"scale": n.b.scale(x), "zero_point": n.b.zero_point(x)}
    others = [n.b.quantize(n.other(x, True), name=n.name(), **real) for _ in range(n.source.randint(1, 2))]
    return [n.b.concat([x, *others], name=n.name())]


@layer
def split(n: Network, x):
    *places, channels = n.b.shape(x)
    if channels % 2:
        return None
    parts = [n.like(x, [*places, channels // 2]) for _ in range(2)]
    n.b.operator("SPLIT", [n.indices(3), x], parts, 2)
    _options(n, schema.SplitOptionsT(numSplits=2))
    return parts


@layer
def pad(n: Network, x):
    border = [[0, 0], [n.source.randint(0, 1), 1], [n.source.randint(0, 2), 0], [0, n.one((0, 0, 2))]]
    y = n.like(x, [side + sum(ends) for side, ends in zip(n.b.shape(x), border, strict=True)])
    n.b.operator("PAD", [x, n.indices(border)], [y])
    return [y]


@layer
def resize(n: Network, x):
    _, height, width, channels = n.b.shape(x)
    if not _is_small(n, x):
        return None
    y = n.like(x, [1, height + 2, 2 * width, channels])
    n.b.operator("RESIZE_BILINEAR", [x, n.indices([height + 2, 2 * width])], [y], 3)
    _options(n, schema.ResizeBilinearOptionsT(halfPixelCenters=n.source.random() < 0.5))
    return [y]


@layer
def pool(n: Network, x):
    return [n.b.pool(x, n.one(("MAX", "AVERAGE")), name=n.name())] if min(n.b.shape(x)[1:3]) >= 2 else None


@layer
def quantize(n: Network, x):
    return [n.b.quantize(x, **n.scaled())]


@layer
def leaky(n: Network, x):
    return [n.b.derived("LEAKY_RELU", [x], alpha=n.source.uniform(-0.5, 1.2), **n.scaled())]


@layer
def logistic(n: Network, x):
    y = n.b.tensor(n.name(), n.b.shape(x), scale=1 / 256, zero_point=-128)
    n.b.operator("LOGISTIC", [x], [y], 2)
    return [y]


@layer
def prelu(n: Network, x):
    slope = n.b.constant([1, 1, n.one((1, n.b.shape(x)[3]))], scale=0.011, name=n.name())
    return [n.b.derived("PRELU", [x, slope], version=1, **n.scaled())]


def _is_small(n: Network, x) -> bool:
    return bool(np.prod(n.b.shape(x)[1:3]) < LARGEST_IMAGE)


def _options(n: Network, options) -> None:
    operator = n.b.graph.operators[-1]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    operator.builtinOptions = options


def network(seed: int) -> bytes:
    """A network of one image, with dead channels; the last tensor is an output, and now and then another one."""
    n = Network(seed)
    for _ in range(n.source.randint(2, 9)):
        n.grow()
    y = n.images[-1]
    head = n.one(("mean", "flatten", "conv", "none"))
    if head == "mean":
        y = n.b.fully_connected(n.b.mean(y), n.one((3, 5)))
    elif head == "flatten":
        y = n.b.fully_connected(n.b.flatten(y), 4, activation=n.activation())
    elif head == "conv":
        y = n.b.conv(y, 3, name="last")
    outputs = [y, n.one(n.images[1:] or [y])] if n.source.random() < 0.3 else [y]
    data = n.b.build(n.images[0], list(dict.fromkeys(outputs)))
    return with_dead_channels(data, n.source, n.one((0.3, 0.6, 0.9)))


def with_dead_channels(data: bytes, source: random.Random, share: float) -> bytes:
    """A model with channels without weights, input channels that nobody reads, and biases that saturate.

    Args:
      data: a .tflite file.
      source: of what is drawn.
      share: of the channels that get no weights.
    """
    model = unpack(data)
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = _CODES.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
            if name is not None:
                _kill(model, [graph.tensors[i] for i in operator.inputs], name, source, share)
    return pack(model)


def _kill(model, tensors, name: str, source: random.Random, share: float) -> None:
    _, weights, *bias = tensors
    content = model.buffers[weights.buffer]
    integers = np.array(content.data, np.uint8).view(np.int8).reshape(weights.shape).copy()
    channels = np.moveaxis(integers, _AXES[name], 0)
    channels[_drawn(len(channels), source, share)] = 0
    inputs = np.moveaxis(integers, -1, 0)
    if name != "DEPTHWISE_CONV_2D" and source.random() < 0.4:
        inputs[_drawn(len(inputs), source, share)] = 0
    content.data = integers.reshape(-1).view(np.uint8)
    if bias and source.random() < 0.5:
        held = model.buffers[bias[0].buffer]
        sums = np.array(held.data, np.uint8).view(np.int32).copy()
        sums[_drawn(len(channels), source, share / 2)] = source.choice((-1, 1)) << source.choice((12, 20, 27))
        held.data = sums.view(np.uint8)


def _drawn(count: int, source: random.Random, share: float) -> np.ndarray:
    return np.array([source.random() < share for _ in range(count)])
