# SPDX-License-Identifier: Apache-2.0
"""Small models of random operators: chains and branches, several inputs and outputs, all types, state."""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tflm_export import ModelError, lowering
from tflm_export.arithmetic import Tflm
from tflm_export.flatbuffer.model import parse

MOST_ELEMENTS = 1500  # of a tensor
TYPES = ("INT8", "INT8", "INT8", "INT16", "UINT8")
ZERO_POINTS = {"INT8": (-128, -9, 0, 5, 127), "UINT8": (0, 119, 128, 133, 255), "INT16": (0,)}
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
OPERATORS: dict[str, Callable] = {}


OF_ANY_TYPE: set[str] = set()


def operator(*names: str, any_type: bool = False):
    """Decorator: the function adds one of these operators to a graph, on a tensor of its, and returns new tensors.

    It returns nothing where the tensor does not suit. It gets tensors of TYPES, or of any type.
    """

    def register(function):
        OPERATORS.update(dict.fromkeys(names, function))
        OF_ANY_TYPE.update(names if any_type else ())
        return function

    return register


class Graph:
    """A model as it grows.

    Args:
      source: of all choices.
      type: of its activations.

    Attributes:
      b: what builds it.
      values: its tensors, latest last.
    """

    def __init__(self, source: random.Random, type: str):
        self.source, self.type = source, type
        self.b = TFLiteBuilder(source.randrange(1 << 16))
        self.values: list[int] = []
        self.inputs: list[int] = []

    def one(self, choices):
        return self.source.choice(list(choices))

    def zero_point(self, type: str | None = None) -> int:
        return self.one(ZERO_POINTS[type or self.type])

    def scale(self, type: str | None = None) -> float:
        return math.exp(self.source.uniform(math.log(0.012), math.log(0.09))) / (256 if type == "INT16" else 1)

    def tensor(self, shape, type: str | None = None, like: int | None = None, name: str = "") -> int:
        """A tensor of a scale of its own, or of another one's."""
        type = type or (self.type if like is None else self.b.type(like))
        name = name or f"t{len(self.b.graph.tensors)}"
        if type in ("INT32", "INT64", "FLOAT32"):
            return self.b.tensor(name, shape, type=type)
        real = (self.scale(type), self.zero_point(type))
        scale, zero_point = real if like is None else (self.b.scale(like), self.b.zero_point(like))
        return self.b.tensor(name, shape, type=type, scale=scale, zero_point=zero_point)

    def indices(self, values) -> int:
        return self.b.tensor(f"i{len(self.b.graph.tensors)}", np.shape(values), type="INT32", data=values)

    def add(self, name: str, inputs, outputs, table: str | None = None, version: int = 2, **options):
        """An operator; its outputs."""
        self.b.operator(name, inputs, outputs, version)
        made = self.b.graph.operators[-1]
        table = f"{table}Options" if table else None
        made.builtinOptionsType = getattr(schema.BuiltinOptions, table) if table else 0
        made.builtinOptions = getattr(schema, f"{table}T")(**options) if table else None
        return outputs

    def grow(self, name: str) -> None:
        """Adds an operator on a tensor of the latest, unless it suits none or nobody could compute it."""
        x = self.one(self.values[-4:])
        if self.b.type(x) not in TYPES and name not in OF_ANY_TYPE:
            return
        graph = self.b.graph
        before = len(graph.operators)
        outputs = OPERATORS[name](self, name, x) or []
        if all(0 < math.prod(self.b.shape(y)) <= MOST_ELEMENTS for y in outputs) and self._is_computed():
            self.values += outputs
        else:
            del graph.operators[before:]

    def _is_computed(self) -> bool:
        try:
            lowering.lower(parse(self.b.build(self.inputs, self.values)), Tflm())
        except ModelError:
            return False
        return True

    def other(self, x: int) -> int | None:
        """Another tensor that broadcasts with one: of the graph, or a constant."""
        shape = self.b.shape(x)
        fitting = [y for y in self.values if self.b.type(y) == self.b.type(x) and _broadcasts(self.b.shape(y), shape)]
        if fitting and self.source.random() < 0.6:
            return self.one(fitting)
        kind = self.b.type(x)
        sides = [side if self.source.random() < 0.6 else 1 for side in shape]
        sides = sides[self.source.randrange(len(sides) + 1) :]
        return self.b.constant(sides, type=kind, scale=self.scale(kind), zero_point=self.zero_point(kind))


def _broadcasts(a, b) -> bool:
    return all(p == q or 1 in (p, q) for p, q in zip(a[::-1], b[::-1], strict=False))


def graph(operators: Sequence[str], seed: int) -> bytes:
    """A model of some of these operators, of 1 or 2 inputs; whatever nobody reads is an output, and more.

    Args:
      operators: keys of OPERATORS; those that suit no tensor are left out.
      seed: of all else: types, shapes, numbers.
    """
    source = random.Random(seed)
    made = Graph(source, source.choice(TYPES))
    image = [made.one((1, 1, 1, 2)), made.one((3, 4, 5, 6)), made.one((2, 4, 6)), made.one((1, 2, 3, 4, 8))]
    shapes = [made.one((image, image, [1, made.one((4, 6, 7))], [1, made.one((2, 4)), 6]))]
    shapes += [made.one((shapes[0], image[1:]))] * made.one((0, 0, 1))
    made.inputs = [made.tensor(shape, name=f"input {i}") for i, shape in enumerate(shapes)]
    made.values = list(made.inputs)
    for name in operators:
        made.grow(name)
    read = {i for node in made.b.graph.operators for i in node.inputs}
    outputs = [y for y in made.values if y not in read or source.random() < 0.1]
    return made.b.build(made.inputs, outputs)


@operator("CONV_2D", "DEPTHWISE_CONV_2D")
def windowed(g: Graph, name, x):
    if len(g.b.shape(x)) != 4 or g.b.type(x) != g.type:
        return None
    batch, height, width, depth = g.b.shape(x)
    kernel = [g.source.randint(1, min(4, side)) for side in (height, width)]
    kernel = [3, 3] if min(height, width) >= 3 and g.source.random() < 0.4 else kernel
    stride, dilation = ([g.one((1, 1, 1, 2, 3))] * 2 for _ in range(2))
    dilation = [d if (k - 1) * d < side else 1 for d, k, side in zip(dilation, kernel, (height, width), strict=True)]
    is_same = g.source.random() < 0.5
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    size = [-(-(n - (0 if is_same else r)) // s) for n, r, s in zip((height, width), reach, stride, strict=True)]
    options = {
        "padding": schema.Padding.SAME if is_same else schema.Padding.VALID,
        "strideH": stride[0], "strideW": stride[1], "dilationHFactor": dilation[0], "dilationWFactor": dilation[1],
        "fusedActivationFunction": getattr(schema.ActivationFunctionType, g.one(ACTIVATIONS)),
    }  # fmt: skip
    if name == "CONV_2D":
        groups = g.one([n for n in (1, 1, 1, 2, 4) if depth % n == 0])
        channels = groups * g.one((1, 2, 3, 4))
        shape, axis, taps, table = (
            [channels, *kernel, depth // groups],
            0,
            math.prod(kernel) * depth // groups,
            "Conv2D",
        )
    else:
        channels = depth * g.one((1, 1, 2))
        shape, axis, taps, table = [1, *kernel, channels], 3, math.prod(kernel), "DepthwiseConv2D"
        options["depthMultiplier"] = channels // depth
    y = g.tensor([batch, *size, channels])
    return g.add(name, [x, *weights(g, x, y, shape, axis, taps)], [y], table, 3, **options)


def weights(g: Graph, x, y, shape, axis, taps) -> list[int]:
    """Weights and mostly a bias, so that outputs spread over their type."""
    name = f"w{len(g.b.graph.tensors)}"
    per_channel = g.type != "UINT8" and g.source.random() < 0.7
    return g.b.weights(x, shape, axis, taps, name, None, per_channel, g.source.random() < 0.8, g.b.scale(y))


@operator("FULLY_CONNECTED")
def dense(g: Graph, name, x):
    if len(g.b.shape(x)) < 2 or g.b.type(x) != g.type:
        return None
    depth, channels = g.b.shape(x)[-1], g.one((1, 2, 3, 4, 7))
    y = g.tensor([*g.b.shape(x)[:-1], channels])
    activation = getattr(schema.ActivationFunctionType, g.one(ACTIVATIONS))
    inputs = [x, *weights(g, x, y, [channels, depth], 0, depth)]
    options = {"keepNumDims": True, "fusedActivationFunction": activation}
    return g.add(name, inputs, [y], "FullyConnected", 4, **options)


@operator("TRANSPOSE_CONV")
def transpose_conv(g: Graph, name, x):
    if len(g.b.shape(x)) != 4 or g.b.type(x) != g.type:
        return None
    kernel, stride, channels = g.one((2, 3)), g.one((1, 2)), g.one((1, 2, 3))
    per_channel = g.type != "UINT8"
    y = g.b.transpose_conv(
        x, channels, kernel, stride=stride, per_channel=per_channel, scale=g.scale(g.type), zero_point=g.zero_point(),
        name=f"t{len(g.b.graph.tensors)}", bias=g.source.random() < 0.7,
    )  # fmt: skip
    return [y]


@operator("BATCH_MATMUL")
def matmul(g: Graph, name, x):
    if len(g.b.shape(x)) < 2:
        return None
    *batch, rows, depth = g.b.shape(x)
    columns, adjoint = g.one((1, 2, 5)), g.source.random() < 0.5
    fitting = [y for y in g.values if g.b.type(y) == g.b.type(x) and g.b.shape(y) == (*batch, columns, depth)]
    right = g.one([*fitting, None])
    if right is None:
        kind = g.b.type(x)
        shape = [*batch, *((columns, depth) if adjoint else (depth, columns))]
        right = g.b.constant(shape, type=kind, scale=g.scale(kind) / depth, zero_point=g.zero_point(kind))
    else:
        adjoint = True
    return g.add(name, [x, right], [g.tensor([*batch, rows, columns])], "BatchMatMul", adjY=adjoint)


@operator("ADD", "SUB", "MUL")
def two(g: Graph, name, x):
    other = g.other(x)
    pair = [x, other] if g.source.random() < 0.7 else [other, x]
    y = g.tensor(np.broadcast_shapes(*map(g.b.shape, pair)), g.b.type(x))
    activation = getattr(schema.ActivationFunctionType, g.one(ACTIVATIONS))
    more = {} if name == "MUL" else {"potScaleInt16": False}
    return g.add(name, pair, [y], name.title(), fusedActivationFunction=activation, **more)


@operator("MAXIMUM", "MINIMUM")
def extremum(g: Graph, name, x):
    other = g.other(x)
    if other not in g.values:
        g.b.graph.tensors[other].quantization = g.b.graph.tensors[x].quantization
    y = g.tensor(np.broadcast_shapes(g.b.shape(x), g.b.shape(other)), like=x)
    return g.add(name, [x, other], [y], "MaximumMinimum")


@operator("PRELU")
def prelu(g: Graph, name, x):
    kind = g.b.type(x)
    slope = g.b.constant(g.one(([1], g.b.shape(x)[-1:])), type=kind, scale=0.011, zero_point=g.zero_point(kind))
    return g.add(name, [x, slope], [g.tensor(g.b.shape(x), kind)], None, 1)


@operator("RELU", "RELU6", "RELU_N1_TO_1", "ABS", "HARD_SWISH")
def unary(g: Graph, name, x):
    return g.add(name, [x], [g.tensor(g.b.shape(x), g.b.type(x))])


@operator("QUANTIZE", any_type=True)
def quantize(g: Graph, name, x):
    return g.add(name, [x], [g.tensor(g.b.shape(x), g.one((*TYPES, "INT32")))])


@operator("LEAKY_RELU")
def leaky(g: Graph, name, x):
    return g.add(name, [x], [g.tensor(g.b.shape(x), g.b.type(x))], "LeakyRelu", alpha=g.source.uniform(-0.5, 1.5))


@operator("LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION")
def fixed(g: Graph, name, x):
    kind = g.b.type(x)
    small = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}
    centred = {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128), "INT16": (1 / 32768, 0)}
    logarithm = {"INT8": (16 / 256, 127), "UINT8": (16 / 256, 255), "INT16": (16 / 65536, 32767)}
    real = {"TANH": centred, "L2_NORMALIZATION": centred, "LOG_SOFTMAX": logarithm}.get(name, small).get(kind)
    if real is None:
        return None
    y = g.b.tensor(f"t{len(g.b.graph.tensors)}", g.b.shape(x), type=kind, scale=real[0], zero_point=real[1])
    if name == "SOFTMAX":
        return g.add(name, [x], [y], "Softmax", beta=g.one((1.0, 0.3, 2.0)))
    table = {"L2_NORMALIZATION": "L2Norm", "LOG_SOFTMAX": "LogSoftmax"}.get(name)
    return g.add(name, [x], [y], table)


@operator("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
def reduction(g: Graph, name, x):
    shape = g.b.shape(x)
    axes = sorted(g.source.sample(range(len(shape)), g.source.randint(1, len(shape)))) if shape else []
    keep = g.source.random() < 0.5
    result = [1 if i in axes else side for i, side in enumerate(shape) if keep or i not in axes]
    like = x if name.startswith("REDUCE") else None
    y = g.tensor(result, g.b.type(x), like)
    return g.add(name, [x, g.indices(axes)], [y], "Reducer", keepDims=keep)


@operator("ARG_MAX", "ARG_MIN", any_type=True)
def position(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    axis = g.source.randrange(len(shape))
    kind = g.one(("INT32", "INT64"))
    y = g.tensor([side for i, side in enumerate(shape) if i != axis], kind)
    table = "ArgMax" if name == "ARG_MAX" else "ArgMin"
    return g.add(name, [x, g.indices([axis])], [y], table, outputType=getattr(schema.TensorType, kind))


@operator("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(g: Graph, name, x):
    if len(g.b.shape(x)) != 4:
        return None
    batch, *sides, depth = g.b.shape(x)
    kernel, stride = [g.source.randint(1, min(3, side)) for side in sides], g.one((1, 2))
    is_same = g.source.random() < 0.5
    size = [-(-(n - (0 if is_same else k - 1)) // stride) for n, k in zip(sides, kernel, strict=True)]
    y = g.tensor([batch, *size, depth], like=x)
    options = {
        "padding": schema.Padding.SAME if is_same else schema.Padding.VALID, "strideH": stride, "strideW": stride,
        "filterHeight": kernel[0], "filterWidth": kernel[1],
        "fusedActivationFunction": getattr(schema.ActivationFunctionType, g.one(ACTIVATIONS)),
    }  # fmt: skip
    return g.add(name, [x], [y], "Pool2D", **options)


@operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS", any_type=True)
def reshape(g: Graph, name, x):
    shape = g.b.shape(x)
    if name == "EXPAND_DIMS":
        axis = g.source.randint(0, len(shape))
        return g.add(name, [x, g.indices([axis])], [g.tensor([*shape[:axis], 1, *shape[axis:]], like=x)], "ExpandDims")
    if name == "SQUEEZE":
        return g.add(name, [x], [g.tensor([side for side in shape if side != 1], like=x)], "Squeeze")
    if not shape:
        return None
    cut = g.source.randint(1, len(shape))
    new = g.one(([math.prod(shape[:cut]), *shape[cut:]], [1, *shape], shape[::-1]))
    return g.add(name, [x, g.indices(new)], [g.tensor(new, like=x)], "Reshape", newShape=list(new))


@operator("TRANSPOSE", any_type=True)
def transpose(g: Graph, name, x):
    order = list(range(len(g.b.shape(x))))
    g.source.shuffle(order)
    y = g.tensor([g.b.shape(x)[i] for i in order], like=x)
    return g.add(name, [x, g.indices(order)], [y], "Transpose") if order else None


@operator("SLICE", "STRIDED_SLICE", any_type=True)
def part(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    begin = [g.source.randrange(side) for side in shape]
    size = [g.source.randint(1, side - start) for side, start in zip(shape, begin, strict=True)]
    if name == "SLICE":
        return g.add(name, [x, g.indices(begin), g.indices(size)], [g.tensor(size, like=x)], "Slice")
    step = [g.one((1, 1, 2, 3)) for _ in shape]
    end = [b + n for b, n in zip(begin, size, strict=True)]
    y = g.tensor([-(-n // s) for n, s in zip(size, step, strict=True)], like=x)
    return g.add(name, [x, *map(g.indices, (begin, end, step))], [y], "StridedSlice")


@operator("SPLIT", "SPLIT_V", "UNPACK", any_type=True)
def split(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    axis = g.source.randrange(len(shape))
    side = shape[axis]
    if name == "UNPACK":
        rest = [n for i, n in enumerate(shape) if i != axis]
        outputs = [g.tensor(rest, like=x) for _ in range(side)]
        return g.add(name, [x], outputs, "Unpack", num=side, axis=axis) if side <= 4 else None
    if name == "SPLIT":
        count = g.one([n for n in (1, 2, 3) if side % n == 0])
        sizes = [side // count] * count
        inputs, table = [g.indices(axis), x], "Split"
    else:
        first = g.source.randint(1, side)
        sizes = [first, side - first] if first < side else [side]
        inputs, table = [x, g.indices(sizes), g.indices(axis)], "SplitV"
    outputs = [g.tensor([*shape[:axis], n, *shape[axis + 1 :]], like=x) for n in sizes]
    return g.add(name, inputs, outputs, table, numSplits=len(sizes))


@operator("CONCATENATION", "PACK", any_type=True)
def join(g: Graph, name, x):
    shape = g.b.shape(x)
    if name == "CONCATENATION" and not shape:
        return None
    same = [y for y in g.values if g.b.type(y) == g.b.type(x) and g.b.shape(y) == shape and _scaled_alike(g, x, y)]
    parts = [x, *g.source.choices(same, k=g.source.randint(0, 2))]
    axis = g.source.randrange(len(shape) + (name == "PACK"))
    count = len(parts)
    if name == "PACK":
        y = g.tensor([*shape[:axis], count, *shape[axis:]], like=x)
        return g.add(name, parts, [y], "Pack", axis=axis, valuesCount=count)
    sides = [side * count if i == axis else side for i, side in enumerate(shape)]
    like = x if g.b.type(x) != "UINT8" or g.source.random() < 0.5 else None
    return g.add(name, parts, [g.tensor(sides, g.b.type(x), like)], "Concatenation", axis=axis)


def _scaled_alike(g: Graph, x, y) -> bool:
    if g.b.graph.tensors[x].quantization is None:
        return g.b.graph.tensors[y].quantization is None
    return (g.b.scale(x), g.b.zero_point(x)) == (g.b.scale(y), g.b.zero_point(y))


@operator("PAD", "PADV2", "MIRROR_PAD", any_type=True)
def pad(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    border = [[g.one((0, 0, 1)), g.one((0, 0, 1, 2))] for _ in shape]
    if name == "MIRROR_PAD":
        border = [[min(n, side - 1) for n in pair] for pair, side in zip(border, shape, strict=True)]
    y = g.tensor([side + sum(pair) for side, pair in zip(shape, border, strict=True)], like=x)
    if name == "MIRROR_PAD":
        return g.add(name, [x, g.indices(border)], [y], "MirrorPad", mode=g.one((0, 1)))
    inputs = [x, g.indices(border)]
    if name == "PADV2":
        fill = g.tensor([1], like=x)
        tensor = g.b.graph.tensors[fill]
        kind = g.b.type(x)
        if kind not in TYPES:
            return None
        g.b.model.buffers[tensor.buffer].data = np.array([3], kind.lower()).view(np.uint8)
        inputs.append(fill)
    return g.add(name, inputs, [y], "Pad" if name == "PAD" else "PadV2")


@operator("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(g: Graph, name, x):
    if len(g.b.shape(x)) != 4:
        return None
    batch, _, _, depth = g.b.shape(x)
    size = [g.source.randint(1, 9), g.source.randint(1, 9)]
    align, half = g.one(((False, False), (True, False), (False, True)))
    table = "ResizeBilinear" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    y = g.tensor([batch, *size, depth], like=x)
    return g.add(name, [x, g.indices(size)], [y], table, alignCorners=align, halfPixelCenters=half)


@operator("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", any_type=True)
def blocks(g: Graph, name, x):
    if len(g.b.shape(x)) != 4:
        return None
    batch, height, width, depth = g.b.shape(x)
    if "DEPTH" in name:
        to_depth = name == "SPACE_TO_DEPTH"
        fits = height % 2 == width % 2 == 0 if to_depth else depth % 4 == 0
        shape = (height // 2, width // 2, depth * 4) if to_depth else (height * 2, width * 2, depth // 4)
        table = "SpaceToDepth" if to_depth else "DepthToSpace"
        return g.add(name, [x], [g.tensor([batch, *shape], like=x)], table, blockSize=2) if fits else None
    if name == "SPACE_TO_BATCH_ND":
        border = [[0, height % 2], [0, width % 2]]
        shape = [batch * 4, (height + 1) // 2, (width + 1) // 2, depth]
        inputs = [x, g.indices([2, 2]), g.indices(border)]
        return g.add(name, inputs, [g.tensor(shape, like=x)], "SpaceToBatchND")
    if batch % 2:
        return None
    cut = [[0, 0], [g.one((0, 1)), 0]]
    shape = [batch // 2, height, 2 * width - cut[1][0], depth]
    inputs = [x, g.indices([1, 2]), g.indices(cut)]
    return g.add(name, inputs, [g.tensor(shape, like=x)], "BatchToSpaceND")


@operator("TILE", "BROADCAST_TO", "REVERSE_V2", any_type=True)
def repeat(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    if name == "REVERSE_V2":
        return g.add(name, [x, g.indices([g.source.randrange(len(shape))])], [g.tensor(shape, like=x)], "ReverseV2")
    if name == "TILE":
        how = [g.one((1, 1, 2, 3)) for _ in shape]
        return g.add(name, [x, g.indices(how)], [g.tensor(np.multiply(shape, how), like=x)], "Tile")
    how = [g.one((2, 3)) if side == 1 else side for side in shape]
    return g.add(name, [x, g.indices(how)], [g.tensor(how, like=x)], "BroadcastTo")


@operator("GATHER", "GATHER_ND", any_type=True)
def gather(g: Graph, name, x):
    shape = g.b.shape(x)
    if not shape:
        return None
    if name == "GATHER_ND":
        depth = g.source.randint(1, len(shape))
        positions = [[g.source.randrange(side) for side in shape[:depth]] for _ in range(3)]
        return g.add(name, [x, g.indices(positions)], [g.tensor([3, *shape[depth:]], like=x)], "GatherNd")
    axis = g.source.randrange(len(shape))
    positions = [g.source.randrange(shape[axis]) for _ in range(g.source.randint(1, 4))]
    y = g.tensor([*shape[:axis], len(positions), *shape[axis + 1 :]], like=x)
    return g.add(name, [x, g.indices(positions)], [y], "Gather", axis=axis, batchDims=0)


@operator("DYNAMIC_UPDATE_SLICE")
def update(g: Graph, name, x):
    shape = g.b.shape(x)
    small = [g.source.randint(1, side) for side in shape]
    if not shape:
        return None
    block = g.b.constant(small, type=g.b.type(x), scale=g.b.scale(x), zero_point=g.b.zero_point(x))
    start = [g.source.randint(-1, side) for side in shape]
    return g.add(name, [x, block, g.indices(start)], [g.tensor(shape, like=x)])


@operator("CAST", any_type=True)
def cast(g: Graph, name, x):
    return g.add(name, [x], [g.tensor(g.b.shape(x), g.one(("INT8", "INT16", "INT32", "UINT8")))], "Cast")


@operator("SHAPE", any_type=True)
def shape_of(g: Graph, name, x):
    y = g.tensor([len(g.b.shape(x))], "INT32")
    return g.add(name, [x], [y], "Shape", outType=schema.TensorType.INT32)


@operator("DEQUANTIZE")
def dequantize(g: Graph, name, x):
    return g.add(name, [x], [g.tensor(g.b.shape(x), "FLOAT32")], "Dequantize")


@operator("ASSIGN_VARIABLE")
def variable(g: Graph, name, x):
    """What x was in the inference before, beside it."""
    handle = g.b.tensor(f"h{len(g.b.graph.tensors)}", [1], type="INT32")
    g.add("VAR_HANDLE", [], [handle], "VarHandle", 1, container="", sharedName=f"v{handle}")
    y = g.tensor(g.b.shape(x), like=x)
    g.add("READ_VARIABLE", [handle], [y], "ReadVariable", 1)
    g.add(name, [handle, x], [], "AssignVariable", 1)
    return [y]


@operator("SVDF")
def svdf(g: Graph, name, x):
    if len(g.b.shape(x)) != 2 or g.b.shape(x)[0] != 1:
        return None
    units, rank, memory, depth = g.one((1, 3)), g.one((1, 2)), g.one((1, 4)), g.b.shape(x)[1]
    filters, kind = units * rank, g.one(("INT16", "INT8"))
    reach = 32767 if kind == "INT16" else 127

    def drawn(name, shape, type, scale, limit):
        data = g.b.random.integers(-limit, limit + 1, shape)
        return g.b.tensor(name, shape, type=type, scale=scale, data=data)

    features = drawn("features", [filters, depth], "INT8", 0.0113, 127)
    time = drawn("time", [filters, memory], kind, 1.31 / reach, reach)
    bias = drawn("bias", [units], "INT32", 51.0 / reach * 1.31 / reach, 100 * reach)
    name_ = f"state{len(g.b.graph.tensors)}"
    state = g.b.tensor(name_, [1, filters * memory], type=kind, scale=51.0 / reach, variable=True)
    y = g.tensor([1, units], g.b.type(x))
    activation = schema.ActivationFunctionType.RELU
    inputs = [x, features, time, bias, state]
    return g.add(name, inputs, [y], "SVDF", 3, rank=rank, fusedActivationFunction=activation)


@operator("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(g: Graph, name, x):
    if len(g.b.shape(x)) != 3 or g.b.shape(x)[0] != 1:
        return None
    (_, steps, depth), units = g.b.shape(x), g.one((1, 3))

    def drawn(shape, scale, limit=127, type="INT8"):
        data = g.b.random.integers(-limit, limit + 1, shape)
        return g.b.tensor("lstm constant", shape, type=type, scale=scale, data=data)

    of_input = [drawn([units, depth], 0.0061 + 0.0011 * i) for i in range(4)]
    of_hidden = [drawn([units, units], 0.0073 + 0.0013 * i) for i in range(4)]
    step = np.float32(g.b.scale(x))
    bias = [drawn([units], step * np.float32(0.0061 + 0.0011 * i), 3000, "INT32") for i in range(4)]
    hidden = g.b.tensor("hidden", [1, units], scale=0.0069, zero_point=2, variable=True)
    cell = g.b.tensor("cell", [1, units], type="INT16", scale=2.0**-11, variable=True)
    y = g.b.tensor("lstm", [1, steps, units], type=g.b.type(x), scale=0.0069, zero_point=2)
    inputs = [x, *of_input, *of_hidden, -1, -1, -1, *bias, -1, -1, hidden, cell, -1, -1, -1, -1]
    options = {"cellClip": g.one((0.0, 2.0)), "fusedActivationFunction": schema.ActivationFunctionType.TANH}
    g.add(name, inputs, [y], "UnidirectionalSequenceLSTM", 3, **options)
    floats = [g.b.tensor("intermediate", [0], type="FLOAT32") for _ in range(4)]
    described = g.b.tensor("effective hidden scale", [0], scale=0.0069, zero_point=2)
    g.b.graph.operators[-1].intermediates = [*floats, described]
    return [y]
