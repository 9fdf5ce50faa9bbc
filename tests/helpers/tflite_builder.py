# SPDX-License-Identifier: Apache-2.0
"""Builds small quantised .tflite models with the object API of TensorFlow Lite Micro's own schema bindings."""

import flatbuffers
import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from tests.helpers import nibbles

_TYPE_NAMES = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}


def pack(model: schema.ModelT) -> bytes:
    """The file of a model object."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def unpack(data: bytes) -> schema.ModelT:
    """The model object of a file."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


class TFLiteBuilder:
    """A model of one subgraph, built operator by operator. Tensors are handled by their index.

    The methods named after operators add their weights and their output tensor, and return the latter. Weight scales
    are drawn so that outputs spread over most of int8; they are never on a coarse grid.

    Args:
      seed: of all that is drawn.
      int4: whether weights have 4 bits.
    """

    def __init__(self, seed: int = 0, int4: bool = False):
        self.random = np.random.default_rng(seed)
        self.int4 = int4
        self.graph = schema.SubGraphT(tensors=[], operators=[], name="main")
        self.model = schema.ModelT(
            version=3, operatorCodes=[], subgraphs=[self.graph], description="test", buffers=[schema.BufferT()]
        )
        self._codes = {}

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)

    def scale(self, tensor: int) -> float:
        return float(np.float32(self.graph.tensors[tensor].quantization.scale[0]))

    def zero_point(self, tensor: int) -> int:
        return self.graph.tensors[tensor].quantization.zeroPoint[0]

    def type(self, tensor: int) -> str:
        return _TYPE_NAMES[self.graph.tensors[tensor].type]

    def tensor(
        self, name, shape, *, type="INT8", scale=None, zero_point=0, dimension=0, data=None, buffer=None, variable=False
    ) -> int:
        """Adds a tensor: constant with `data` or the index of an existing `buffer`, else computed at run time."""
        quantization = None
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zeros = [int(zero_point)] * scales.size
            quantization = schema.QuantizationParametersT(
                scale=scales.tolist(), zeroPoint=zeros, quantizedDimension=dimension
            )
        if data is not None:
            if type == "INT4":
                content = np.frombuffer(nibbles.packed(np.ravel(data).tolist()), np.uint8)
            else:
                content = np.ascontiguousarray(data, type.lower()).reshape(-1).view(np.uint8)
            self.model.buffers.append(schema.BufferT(data=content))
            buffer = len(self.model.buffers) - 1
        if buffer is None:
            self.model.buffers.append(schema.BufferT())
            buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=getattr(schema.TensorType, type),
                buffer=buffer,
                name=name,
                quantization=quantization,
                isVariable=variable,
            )
        )
        return len(self.graph.tensors) - 1

    def buffer(self, tensor: int) -> int:
        return self.graph.tensors[tensor].buffer

    def operator(self, name: str, inputs, outputs, version: int = 1, **options) -> None:
        """Adds an operator; `CUSTOM:name` for a custom one. `options` are fields of its option table."""
        if (name, version) not in self._codes:
            builtin, _, custom = name.partition(":")
            code = getattr(schema.BuiltinOperator, builtin)
            self.model.operatorCodes.append(
                schema.OperatorCodeT(
                    deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version, customCode=custom or None
                )
            )
            self._codes[name, version] = len(self.model.operatorCodes) - 1
        table = _OPTIONS.get(name)
        activation = options.pop("activation", None)
        if activation:
            options["fusedActivationFunction"] = getattr(schema.ActivationFunctionType, activation)
        self.graph.operators.append(
            schema.OperatorT(
                opcodeIndex=self._codes[name, version],
                inputs=list(inputs),
                outputs=list(outputs),
                builtinOptionsType=getattr(schema.BuiltinOptions, table) if table else 0,
                builtinOptions=getattr(schema, table + "T")(**options) if table else None,
            )
        )

    def build(self, inputs, outputs) -> bytes:
        self.graph.inputs = [inputs] if isinstance(inputs, int) else list(inputs)
        self.graph.outputs = [outputs] if isinstance(outputs, int) else list(outputs)
        return pack(self.model)

    def input(self, shape, *, scale=0.0371, zero_point=-3, type="INT8", name="input") -> int:
        return self.tensor(name, shape, type=type, scale=scale, zero_point=zero_point)

    def constant(self, shape, *, scale=0.0213, zero_point=4, type="INT8", name="constant") -> int:
        """A constant activation."""
        limits = np.iinfo(type.lower())
        data = self.random.integers(limits.min, limits.max + 1, shape)
        return self.tensor(name, shape, type=type, scale=scale, zero_point=zero_point, data=data)

    def weights(self, x, shape, axis, taps, name, scale, per_channel, bias, output_scale) -> list[int]:
        """Weight and bias tensors of a layer with input `x`; a channel sums `taps` products."""
        channels = shape[axis]
        most = 7 if self.int4 else 127
        factor = 63.5 / most / np.sqrt(taps) / 70 * self.random.uniform(0.5, 1.9, channels if per_channel else 1)
        if scale is None:
            scale = factor * output_scale / self.scale(x)
        scale = np.atleast_1d(np.float32(scale))
        integers = self.random.integers(-most, most + 1, shape)
        kind = self.type(x)
        zero, stored = (131, "UINT8") if kind == "UINT8" else (0, "INT4" if self.int4 else "INT8")
        integers = np.clip(integers + zero, *((0, 255) if zero else (-127, 127)))
        w = self.tensor(
            f"{name}/weights", shape, type=stored, scale=scale, zero_point=zero, dimension=axis, data=integers
        )
        if not bias:
            return [w]
        spread = int(70 * 70 * np.sqrt(taps) * (most / 127)) * (256 if kind == "INT16" else 1)
        integers = self.random.integers(-spread, spread + 1, channels)
        bias_scale = np.float32(self.scale(x)) * scale
        bias_type = "INT64" if kind == "INT16" else "INT32"
        return [w, self.tensor(f"{name}/bias", [channels], type=bias_type, scale=bias_scale, data=integers)]

    def _windowed(self, op, x, channels, shape, axis, taps, name, kernel, stride, padding, activation, output, layer):
        weights = self.weights(x, shape, axis, taps, name, output_scale=output["scale"], **layer)
        batch, height, width, _ = self.shape(x)
        spare = kernel - 1 if padding == "VALID" else 0
        size = [-(-(side - spare) // stride) for side in (height, width)]
        y = self.tensor(name, [batch, *size, channels], type=self.type(x), **output)
        options = {"depthMultiplier": channels // self.shape(x)[3]} if op == "DEPTHWISE_CONV_2D" else {}
        padding = getattr(schema.Padding, padding)
        self.operator(
            op, [x, *weights], [y], 3, activation=activation, padding=padding, strideW=stride, strideH=stride, **options
        )
        return y

    def conv(
        self, x, channels, kernel=3, *, name="conv", scale=0.0529, zero_point=7, stride=1, padding="SAME",
        activation="NONE", weight_scale=None, per_channel=True, bias=True,
    ) -> int:  # fmt: skip
        depth = self.shape(x)[3]
        layer = {"scale": weight_scale, "per_channel": per_channel, "bias": bias}
        output = {"scale": scale, "zero_point": zero_point}
        shape = [channels, kernel, kernel, depth]
        return self._windowed(
            "CONV_2D",
            x,
            channels,
            shape,
            0,
            kernel**2 * depth,
            name,
            kernel,
            stride,
            padding,
            activation,
            output,
            layer,
        )

    def depthwise(
        self, x, multiplier=1, kernel=3, *, name="depthwise", scale=0.0613, zero_point=-5, stride=1, padding="SAME",
        activation="NONE", weight_scale=None, per_channel=True, bias=True,
    ) -> int:  # fmt: skip
        channels = self.shape(x)[3] * multiplier
        layer = {"scale": weight_scale, "per_channel": per_channel, "bias": bias}
        output = {"scale": scale, "zero_point": zero_point}
        shape = [1, kernel, kernel, channels]
        op = "DEPTHWISE_CONV_2D"
        return self._windowed(
            op, x, channels, shape, 3, kernel**2, name, kernel, stride, padding, activation, output, layer
        )

    def fully_connected(
        self, x, channels, *, name="dense", scale=0.0817, zero_point=2, activation="NONE", weight_scale=None,
        per_channel=False, bias=True,
    ) -> int:  # fmt: skip
        batch, depth = self.shape(x)
        weights = self.weights(x, [channels, depth], 0, depth, name, weight_scale, per_channel, bias, scale)
        y = self.tensor(name, [batch, channels], type=self.type(x), scale=scale, zero_point=zero_point)
        self.operator("FULLY_CONNECTED", [x, *weights], [y], 5 if per_channel else 4, activation=activation)
        return y

    def add(self, a, b, *, name="add", scale=0.0731, zero_point=-9, activation="NONE") -> int:
        options = {"activation": activation, "potScaleInt16": False}
        return self.derived("ADD", [a, b], name=name, scale=scale, zero_point=zero_point, **options)

    def derived(self, op, inputs, *, shape=None, scale=0.0731, zero_point=-9, name="", version=2, **options) -> int:
        """An operator that gives one tensor of its first input's type, in the shape its inputs broadcast to."""
        shape = np.broadcast_shapes(*map(self.shape, inputs)) if shape is None else shape
        y = self.tensor(name or op.lower(), shape, type=self.type(inputs[0]), scale=scale, zero_point=zero_point)
        self.operator(op, inputs, [y], version, **options)
        return y

    def transpose_conv(
        self, x, channels, kernel=3, *, name="transpose_conv", scale=0.0577, zero_point=9, stride=2,
        activation="NONE", weight_scale=None, per_channel=True, bias=True,
    ) -> int:  # fmt: skip
        batch, height, width, depth = self.shape(x)
        taps = kernel**2 * depth // stride**2
        shape = [channels, kernel, kernel, depth]
        weights = self.weights(x, shape, 0, taps, name, weight_scale, per_channel, bias, scale)
        shape = [batch, height * stride, width * stride, channels]
        size = self.tensor(f"{name}/shape", [4], type="INT32", data=shape)
        inputs = [size, weights[0], x, *weights[1:]]
        options = {"padding": schema.Padding.SAME, "strideW": stride, "strideH": stride, "activation": activation}
        y = self.tensor(name, shape, type=self.type(x), scale=scale, zero_point=zero_point)
        self.operator("TRANSPOSE_CONV", inputs, [y], 3, **options)
        return y

    def mean(self, x, *, name="mean", scale=0.0273, zero_point=-12) -> int:
        """Global average over height and width, to [batch, channels]."""
        axes = self.tensor(f"{name}/axes", [2], type="INT32", data=[1, 2])
        batch, _, _, channels = self.shape(x)
        y = self.tensor(name, [batch, channels], type=self.type(x), scale=scale, zero_point=zero_point)
        self.operator("MEAN", [x, axes], [y], 2, keepDims=False)
        return y

    def quantize(self, x, *, name="quantize", scale=0.0473, zero_point=11, type="INT8") -> int:
        y = self.tensor(name, self.shape(x), type=type, scale=scale, zero_point=zero_point)
        self.operator("QUANTIZE", [x], [y], 2)
        return y

    def _same_scale(self, name, x, shape) -> int:
        return self.tensor(name, shape, type=self.type(x), scale=self.scale(x), zero_point=self.zero_point(x))

    def pool(self, x, kind="MAX", *, name="pool") -> int:
        """2x2 pooling with stride 2, at the input's scale."""
        batch, height, width, channels = self.shape(x)
        y = self._same_scale(name, x, [batch, height // 2, width // 2, channels])
        padding = schema.Padding.VALID
        self.operator(
            f"{kind}_POOL_2D", [x], [y], 2, padding=padding, strideW=2, strideH=2, filterWidth=2, filterHeight=2
        )
        return y

    def reshape(self, x, shape, *, name="reshape") -> int:
        target = self.tensor(f"{name}/shape", [len(shape)], type="INT32", data=shape)
        y = self._same_scale(name, x, shape)
        self.operator("RESHAPE", [x, target], [y], newShape=list(shape))
        return y

    def flatten(self, x, *, name="flatten") -> int:
        batch, *rest = self.shape(x)
        return self.reshape(x, [batch, int(np.prod(rest))], name=name)

    def concat(self, tensors, *, name="concat", scale=None) -> int:
        """Joins along the last axis, at the first input's scale unless told otherwise."""
        first = tensors[0]
        shape = [*self.shape(first)[:-1], sum(self.shape(t)[-1] for t in tensors)]
        y = self.tensor(name, shape, scale=scale or self.scale(first), zero_point=self.zero_point(first))
        self.operator("CONCATENATION", tensors, [y], 2, axis=len(shape) - 1)
        return y

    def softmax(self, x, *, name="softmax") -> int:
        y = self.tensor(name, self.shape(x), scale=1 / 256, zero_point=-128)
        self.operator("SOFTMAX", [x], [y], 2, beta=1.0)
        return y

    def unknown(self, x, *, op="MUL", name="unknown") -> int:
        """An operator with int8 tensors that the exporter does not know."""
        y = self.tensor(name, self.shape(x), scale=0.0331, zero_point=1)
        self.operator(op, [x, x] if op == "MUL" else [x], [y], 2)
        return y


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "SVDF": "SVDFOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "MEAN": "ReducerOptions",
    "QUANTIZE": "QuantizeOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "RESHAPE": "ReshapeOptions",
    "CONCATENATION": "ConcatenationOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SUM": "ReducerOptions",
    "UNPACK": "UnpackOptions",
    "ARG_MAX": "ArgMaxOptions",
}


def residual_network(seed: int = 0, batch: int = 8, int4: bool = False) -> bytes:
    """A network with every kind of operator the exporter knows: [batch, 8, 8, 3] to [batch, 5] class scores."""
    b = TFLiteBuilder(seed, int4)
    x = b.input([batch, 8, 8, 3])
    stem = b.conv(x, 6, name="stem", scale=0.0311, zero_point=-128, activation="RELU")
    left = b.depthwise(stem, name="left", scale=0.0433, zero_point=-20, activation="RELU6")
    left = b.conv(left, 6, 1, name="pointwise", scale=0.0529)
    y = b.add(left, stem, name="identity_add", activation="RELU", zero_point=-128)
    branches = [b.conv(y, 4, 3, name=f"branch{i}", scale=s, per_channel=i == 0) for i, s in enumerate((0.031, 0.043))]
    y = b.add(*branches, name="branch_add", scale=0.0517)
    y = b.pool(y, "MAX", name="max_pool")
    y = b.add(y, b.constant([4]), name="constant_add", scale=0.0613)
    y = b.quantize(y)
    pooled = b.mean(y)
    flat = b.flatten(b.pool(y, "AVERAGE", name="average_pool"))
    y = b.fully_connected(pooled, 7, name="hidden", activation="RELU", zero_point=-128)
    z = b.fully_connected(flat, 5, name="wide", per_channel=True, scale=b.scale(y), zero_point=b.zero_point(y))
    y = b.fully_connected(b.concat([y, z]), 5, name="logits")
    return b.build(x, b.softmax(y))
