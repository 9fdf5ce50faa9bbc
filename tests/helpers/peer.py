# SPDX-License-Identifier: Apache-2.0
"""What TensorFlow Lite Micro's own schema bindings read in a .tflite file, and the rescale factors that follow."""

import dataclasses
import functools
import math
from fractions import Fraction

import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from tests.helpers import nibbles

RESCALERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN", "QUANTIZE")
WEIGHTED = RESCALERS[:3]


def _names(enum) -> dict[int, str]:
    return {code: name for name, code in vars(enum).items() if not name.startswith("_")}


TENSOR_TYPES, OPERATORS = _names(schema.TensorType), _names(schema.BuiltinOperator)
ACTIVATIONS = _names(schema.ActivationFunctionType)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor; `scale` and `zero_point` are empty where it has none, `spans` are the bytes of scales and of data."""

    key: tuple[int, int]
    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int
    scale: np.ndarray
    zero_point: np.ndarray
    dimension: int
    data: np.ndarray
    variable: bool
    scale_span: range
    data_span: range

    @property
    def zero(self) -> int:
        return int(self.zero_point[0]) if self.zero_point.size else 0

    @property
    def integers(self) -> np.ndarray:
        """Constant elements in the tensor's shape."""
        if self.type == "INT4":
            elements = nibbles.unpacked(self.data.tobytes(), math.prod(self.shape))
            return np.array(elements, np.int8).reshape(self.shape)
        dtype = {"INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "INT16": np.int16}
        return self.data.view(dtype.get(self.type, np.float32)).reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator; `inputs` holds None for those left out, `table` its option table."""

    key: tuple[int, int]
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    table: object

    @property
    def rescales(self) -> bool:
        """Whether it is an int8 operator with rescale factors of its own that the exporter can narrow."""
        if self.name not in RESCALERS:
            return False
        activations = [self.inputs[0], self.outputs[0], *(self.inputs[1:] if self.name == "ADD" else ())]
        if any(t.type != "INT8" or t.scale.size != 1 for t in activations):
            return False
        return self.name not in WEIGHTED or (self.inputs[1].type in ("INT8", "INT4") and self.inputs[1].data.size > 0)

    @property
    def quotients(self) -> np.ndarray:
        """The factors in float64, without those that the runtimes flush to 0."""
        x, y = self.inputs[0].scale.astype(np.float64), self.outputs[0].scale.astype(np.float64)
        if self.name in WEIGHTED:
            x = x * self.inputs[1].scale
        elif self.name == "ADD":
            x = np.concatenate([t.scale for t in self.inputs]).astype(np.float64)
        return (x / y)[x / y >= 2.0**-32]

    @property
    def factors(self) -> list[Fraction]:
        """Exact quotients of the stored float32 scales."""
        y = _exact(self.outputs[0].scale)[0]
        if self.name in WEIGHTED:
            x = _exact(self.inputs[0].scale)[0]
            return [x * w / y for w in _exact(self.inputs[1].scale)]
        terms = self.inputs if self.name == "ADD" else self.inputs[:1]
        return [_exact(t.scale)[0] / y for t in terms]


@dataclasses.dataclass(frozen=True)
class Subgraph:
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _exact(values: np.ndarray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


@functools.lru_cache(maxsize=4)
def subgraphs(data: bytes) -> list[Subgraph]:
    model = schema.Model.GetRootAs(data, 0)
    base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return [_subgraph(model, i, base) for i in range(model.SubgraphsLength())]


def operators(data: bytes) -> list[Operator]:
    return [operator for subgraph in subgraphs(data) for operator in subgraph.operators]


def tensors(data: bytes) -> list[Tensor]:
    return [tensor for subgraph in subgraphs(data) for tensor in subgraph.tensors]


def _vector(values, dtype) -> np.ndarray:
    """What the bindings return for a vector: an array, or 0 for one that is absent."""
    return values if isinstance(values, np.ndarray) else np.zeros(0, dtype)


def _span(values: np.ndarray, base: int) -> range:
    start = values.__array_interface__["data"][0] - base if values.size else 0
    return range(start, start + values.nbytes)


def _subgraph(model, index: int, base: int) -> Subgraph:
    graph = model.Subgraphs(index)
    tensors = tuple(_tensor(model, graph.Tensors(i), (index, i), base) for i in range(graph.TensorsLength()))
    operators = tuple(_operator(model, graph.Operators(i), (index, i), tensors) for i in range(graph.OperatorsLength()))
    name = (graph.Name() or b"").decode()
    ends = [tuple(_vector(v, np.int32).tolist()) for v in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())]
    return Subgraph(name, tensors, operators, *ends)


def _tensor(model, table, key, base: int) -> Tensor:
    quantization = table.Quantization()
    scale, zero_point, dimension = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if quantization is not None:
        scale = _vector(quantization.ScaleAsNumpy(), np.float32)
        zero_point = _vector(quantization.ZeroPointAsNumpy(), np.int64)
        dimension = quantization.QuantizedDimension()
    data = np.zeros(0, np.uint8)
    if table.Buffer() < model.BuffersLength():
        data = _vector(model.Buffers(table.Buffer()).DataAsNumpy(), np.uint8)
    return Tensor(
        key,
        (table.Name() or b"").decode(),
        TENSOR_TYPES[table.Type()],
        tuple(_vector(table.ShapeAsNumpy(), np.int32).tolist()),
        table.Buffer(),
        scale,
        zero_point,
        dimension,
        data,
        bool(table.IsVariable()),
        _span(scale, base),
        _span(data, base),
    )


def _operator(model, table, key, tensors) -> Operator:
    code = model.OperatorCodes(table.OpcodeIndex())
    name = OPERATORS[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]
    if name == "CUSTOM":
        name = f"CUSTOM:{code.CustomCode().decode()}"
    inputs = tuple(tensors[i] if i >= 0 else None for i in _vector(table.InputsAsNumpy(), np.int32).tolist())
    outputs = tuple(tensors[i] for i in _vector(table.OutputsAsNumpy(), np.int32).tolist())
    return Operator(key, name, inputs, outputs, table)


def nearest(factor: Fraction, bits: int) -> tuple[int, int]:
    """The (m, s) whose m * 2**-s is nearest to a factor, with m of exactly `bits` bits; (0, 0) for a zero factor."""
    if factor == 0:
        return 0, 0
    shift = bits - (factor.numerator.bit_length() - factor.denominator.bit_length()) + 2
    while not factor * Fraction(2) ** shift < 2**bits:
        shift -= 1
    multiplier = int(factor * Fraction(2) ** shift + Fraction(1, 2))
    return (multiplier // 2, shift - 1) if multiplier == 2**bits else (multiplier, shift)


def off_grid(factor: Fraction, bits: int) -> float:
    """Relative distance of a factor to the k-bit grid."""
    multiplier, shift = nearest(factor, bits)
    return float(abs(multiplier * Fraction(2) ** -shift / factor - 1)) if factor else 0.0


def off_grids(factors: np.ndarray, bits: int) -> np.ndarray:
    """`off_grid` of many positive float64 factors, to 2**-52."""
    step = np.exp2(np.floor(np.log2(factors)) - bits + 1)
    return np.abs(np.rint(factors / step) * step / factors - 1)
