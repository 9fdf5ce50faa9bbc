# SPDX-License-Identifier: Apache-2.0
"""Damaged models that are well-formed files: mutations of tensors, operators, options and constants."""

import contextlib
import enum
import functools
import importlib
import pkgutil
import random

import numpy as np

from tests.helpers.operators import A, B, activation, indices, one_operator
from tests.helpers.simulated import SimulatedTests
from tests.helpers.tflite_builder import pack, residual_network, schema, unpack
from tflm_export.flatbuffer import options
from tflm_export.flatbuffer.model import parse

DIMENSIONS = (0, 1, 2, 3, 5, 8, 64, 1000, 1 << 16, 1 << 24, (1 << 31) - 1, -1)
NUMBERS = (-(1 << 31), -1000, -2, -1, 0, 1, 2, 3, 4, 5, 7, 100, 1 << 16, 1 << 30, (1 << 31) - 1)
SCALES = (0.0, 1e-45, 1e-38, 1e-20, 1e-6, 0.0039, 1 / 256, 1 / 32768, 0.5, 1.0, 3.0, 1e6, 1e20, 3.4e38)
ZERO_POINTS = (0, -128, 127, -129, 255, 32767, -32768, 1 << 31, -(1 << 31), (1 << 63) - 1, -(1 << 63))
TYPES = [getattr(schema.TensorType, name) for name in ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32", "INT4")]
LARGEST_CONSTANT = 64  # elements of constants whose every one matters: axes, sizes, positions
_OTHERS = (  # name, operands, output; what those tests leave out
    ("PRELU", [A, activation(0.02, 3, (1, 1, 4), data=[[[-9, 4, 50, 7]]])], B),
    ("ABS", [A], B),
    ("RELU", [A], B),
    ("RELU6", [A], B),
    ("TRANSPOSE", [A, indices([0, 3, 1, 2])], activation(0.031, -7, (1, 4, 6, 6))),
    ("SUM", [A, indices([1, 2])], activation(0.3, 4, (1, 4))),
    ("PADV2", [A, indices([[0, 0], [1, 2], [1, 0], [0, 0]]), activation(0.031, -7, (1,), data=[5])],
     activation(0.031, -7, (1, 9, 7, 4))),
    ("SQUEEZE", [A], activation(0.031, -7, (6, 6, 4))),
    ("EXPAND_DIMS", [A, indices([0])], activation(0.031, -7, (1, 1, 6, 6, 4))),
)  # fmt: skip
_OPTIONS = {kind.__name__: kind for kind in vars(options).values() if isinstance(kind, enum.EnumMeta)}


@functools.cache
def seeds() -> list[bytes]:
    """Built models: one with many operators, and those of one operator that other tests simulate."""
    from tests.tflm_export import ops

    modules = [
        importlib.import_module(f"{ops.__name__}.{module.name}") for module in pkgutil.iter_modules(ops.__path__)
    ]
    built = [data for tests in SimulatedTests.__subclasses__() for data, _ in tests.models.values()]
    built += [module.model() for module in modules if module.__name__.endswith(("svdf", "lstm"))]
    return [
        residual_network(batch=1),
        residual_network(batch=1, int4=True),
        *built,
        *map(one_operator, *zip(*_OTHERS, strict=True)),
    ]


@functools.cache
def _operators() -> list[str]:
    return sorted({operator.name for data in seeds() for operator in parse(data).operators})


def mutate(data: bytes, source: random.Random) -> bytes:
    """A copy of a whole model with up to 6 of its facts changed."""
    model = unpack(data)
    for _ in range(source.choice((1, 1, 1, 2, 3, 6))):
        with contextlib.suppress(IndexError, ValueError):  # there is nothing of the kind to change
            source.choice(_CHANGES)(model, source.choice(model.subgraphs), source)
    return pack(model)


def _listed(values) -> list:
    return [] if values is None else [int(v) for v in values]


def _tensor(graph, source):
    operators = [o for o in graph.operators or () if o.inputs is not None and o.outputs is not None]
    if operators and source.random() < 0.8:
        operator = source.choice(operators)
        indices = [i for i in (*operator.inputs, *operator.outputs) if i >= 0]
        if indices:
            return graph.tensors[source.choice(indices)]
    return source.choice(graph.tensors)


def _wire(model, graph, source):
    """Another tensor, none, one more or one less among an operator's."""
    operator = source.choice(graph.operators)
    role = source.choice(("inputs", "inputs", "outputs"))
    indices = _listed(getattr(operator, role))
    kind = source.random()
    if indices and kind < 0.6:
        indices[source.randrange(len(indices))] = source.randrange(-1 if role == "inputs" else 0, len(graph.tensors))
    elif indices and kind < 0.8:
        del indices[source.randrange(len(indices))]
    else:
        indices.insert(source.randrange(len(indices) + 1), source.randrange(len(graph.tensors)))
    setattr(operator, role, indices)


def _borders(model, graph, source):
    """Another tensor as input or output of the graph."""
    role = source.choice(("inputs", "outputs"))
    indices = _listed(getattr(graph, role))
    if indices and source.random() < 0.7:
        indices[source.randrange(len(indices))] = source.randrange(len(graph.tensors))
    else:
        indices.append(source.randrange(len(graph.tensors)))
    setattr(graph, role, indices)


def _type(model, graph, source):
    _tensor(graph, source).type = source.choice(TYPES)


def _reshape(model, graph, source):
    tensor = _tensor(graph, source)
    shape = _listed(tensor.shape)
    kind = source.random()
    if shape and kind < 0.6:
        shape[source.randrange(len(shape))] = source.choice(DIMENSIONS)
    elif shape and kind < 0.7:
        del shape[source.randrange(len(shape))]
    elif kind < 0.8:
        shape.insert(source.randrange(len(shape) + 1), source.choice((1, 2, 0)))
    elif kind < 0.9:
        source.shuffle(shape)
    else:
        shape = _listed(_tensor(graph, source).shape)
    tensor.shape = shape


def _quantization(model, graph, source):
    tensor = _tensor(graph, source)
    if tensor.quantization is None or source.random() < 0.05:
        tensor.quantization = source.choice((None, schema.QuantizationParametersT(scale=[0.1], zeroPoint=[3])))
        return
    quantization = tensor.quantization
    kind = source.random()
    if kind < 0.2:
        quantization.quantizedDimension = source.choice((-2, -1, 0, 1, 2, 3, 4, 1 << 30))
    elif kind < 0.3:
        count = source.choice((0, 1, 2, 3, 4, 5))
        quantization.scale, quantization.zeroPoint = [0.02] * count, [0] * count
    elif kind < 0.65 and quantization.scale is not None and len(quantization.scale):
        scales = [float(s) for s in quantization.scale]
        scales[source.randrange(len(scales))] = source.choice(SCALES)
        quantization.scale = scales if source.random() < 0.5 else [source.choice(SCALES)] * len(scales)
    else:
        count = len(_listed(quantization.zeroPoint)) or 1
        quantization.zeroPoint = [source.choice(ZERO_POINTS)] * count


def _constant(model, graph, source):
    """One number of a small constant of integers, or a constant made computed."""
    small = [
        t
        for t in graph.tensors
        if t.type in (schema.TensorType.INT32, schema.TensorType.INT64)
        and 0 < len(_listed(t.shape)) <= 2
        and model.buffers[t.buffer].data is not None
        and 0 < len(model.buffers[t.buffer].data) <= 4 * LARGEST_CONSTANT
    ]
    if not small:
        return _variable(model, graph, source)
    buffer = model.buffers[source.choice(small).buffer]
    values = np.frombuffer(bytes(bytearray(buffer.data)), np.uint8).copy()
    values = values[: len(values) // 4 * 4].view(np.int32)
    if values.size:
        values[source.randrange(values.size)] = source.choice(NUMBERS)
        buffer.data = values.view(np.uint8)
    return None


def _variable(model, graph, source):
    tensor = _tensor(graph, source)
    if source.random() < 0.5:
        tensor.isVariable = not tensor.isVariable
    else:
        tensor.buffer = source.randrange(len(model.buffers))


def _option(model, graph, source):
    chosen = [o for o in graph.operators if o.builtinOptions is not None]
    if not chosen:
        return
    operator = source.choice(chosen)
    if source.random() < 0.05:
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        return
    fields = [k for k, v in vars(operator.builtinOptions).items() if isinstance(v, (bool, int, float))]
    if not fields:
        return
    field = source.choice(fields)
    old = getattr(operator.builtinOptions, field)
    if isinstance(old, bool):
        setattr(operator.builtinOptions, field, not old)
    elif isinstance(old, float):
        setattr(operator.builtinOptions, field, source.choice((-1.0, 0.0, 1e-30, 1.0, 1e30, float("nan"))))
    elif field in ("padding", "fusedActivationFunction", "mode", "weightsFormat"):
        setattr(operator.builtinOptions, field, source.choice((0, 1, 2, 3, 4, 5)))
    elif "DataType" in field or "Type" in field or field == "outType":
        setattr(operator.builtinOptions, field, source.choice(TYPES))
    else:
        setattr(operator.builtinOptions, field, source.choice(NUMBERS))


def _operator(model, graph, source):
    """Another type of operator, with options of its own, at their defaults or drawn."""
    operator = source.choice(graph.operators)
    name = source.choice(_operators())
    model.operatorCodes.append(
        schema.OperatorCodeT(
            builtinCode=(code := getattr(schema.BuiltinOperator, name)), deprecatedBuiltinCode=min(code, 127), version=1
        )
    )
    operator.opcodeIndex = len(model.operatorCodes) - 1
    kinds = [k for k in _OPTIONS if k.removesuffix("Options").upper() == name.replace("_", "")]
    operator.builtinOptions, operator.builtinOptionsType = None, 0
    if kinds:
        operator.builtinOptions = getattr(schema, f"{kinds[0]}T")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kinds[0])


_CHANGES = (_wire, _borders, _type, _reshape, _reshape, _quantization, _quantization, _constant, _constant, _variable,
            _option, _option, _operator)  # fmt: skip
