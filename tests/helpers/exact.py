# SPDX-License-Identifier: Apache-2.0
"""Exact integer arithmetic of narrowed operators: one rounding, halves up, with (m, s) read through the peer's view."""

import dataclasses

import numpy as np
from tflite_micro import runtime as tflm

from tests.helpers import peer
from tests.helpers.tflite_builder import pack, unpack
from tflm_export.runtimes import litert_module


def multipliers(operator: peer.Operator, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The k-bit (m, s) of each of its factors; int64."""
    pairs = np.array([peer.nearest(factor, bits) for factor in operator.factors], np.int64)
    return pairs[:, 0], pairs[:, 1]


def rescaled(accumulator: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """`(acc * m + (1 << (s - 1))) >> s`, elementwise."""
    product, left = accumulator * multiplier, np.maximum(1 - shift, 0)  # at least one fraction bit to round
    shift = shift + left
    return ((product << left) + (np.int64(1) << (shift - 1))) >> shift


def outputs(operator: peer.Operator, values: dict[int, np.ndarray], bits: int) -> np.ndarray:
    """What the narrowed operator gives for the values of its input tensors (by tensor index); int64."""
    acc = {
        "CONV_2D": _windows,
        "DEPTHWISE_CONV_2D": _windows,
        "FULLY_CONNECTED": _dense,
    }.get(operator.name)
    m, s = multipliers(operator, bits)
    if acc is not None:
        result = rescaled(accumulators(operator, values), m, s)
    else:
        result = {"ADD": _add, "MEAN": _mean, "QUANTIZE": _quantize}[operator.name](operator, values, m, s)
    y = operator.outputs[0]
    low, high = -128, 127
    activation = _activation(operator)
    if activation in ("RELU", "RELU6"):
        low = max(low, y.zero)
    if activation == "RELU6":
        high = min(high, y.zero + int(np.rint(6 / y.scale[0])))
    return np.clip(result + y.zero, low, high)


def accumulators(operator: peer.Operator, values: dict[int, np.ndarray]) -> np.ndarray:
    """int64 sums of an operator with weights, bias included, before the rescale; channels last."""
    return (_dense if operator.name == "FULLY_CONNECTED" else _windows)(operator, values)


def _centred(tensor: peer.Tensor, values) -> np.ndarray:
    integers = tensor.integers if tensor.data.size else values[tensor.key[1]]
    return integers.astype(np.int64) - tensor.zero


def _bias(operator) -> np.ndarray:
    return operator.inputs[2].integers.astype(np.int64) if len(operator.inputs) > 2 else np.int64(0)


def _dense(operator, values):
    x, w = operator.inputs[:2]
    return _centred(x, values) @ w.integers.astype(np.int64).T + _bias(operator)


def _windows(operator, values):
    """Convolutions with SAME or VALID padding, through a view of all windows."""
    x, w = operator.inputs[:2]
    options = _options(operator)
    _, kernel, _, _ = w.shape
    stride = options.StrideH()
    image = _centred(x, values)
    size = operator.outputs[0].shape[1:3]
    if options.Padding() == peer.schema.Padding.SAME:
        total = [max((out - 1) * stride + kernel - side, 0) for out, side in zip(size, image.shape[1:3], strict=True)]
        image = np.pad(image, [(0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    weights = w.integers.astype(np.int64)
    if operator.name == "CONV_2D":
        return np.einsum("nyxcij,oijc->nyxo", windows, weights) + _bias(operator)
    spread = np.repeat(windows, weights.shape[3] // windows.shape[3], axis=3)
    return np.einsum("nyxcij,ijc->nyxc", spread, weights[0]) + _bias(operator)


def _add(operator, values, m, s):
    a, b = (_centred(t, values) for t in operator.inputs)
    common = max(*s, 1)
    total = (a * m[0] << (common - s[0])) + (b * m[1] << (common - s[1]))
    return (total + (1 << (common - 1))) >> common


def _mean(operator, values, m, s):
    """The mean over height and width; sum and division are exact."""
    x = _centred(operator.inputs[0], values)
    count = x.shape[1] * x.shape[2]
    left = max(-s[0], 0)
    return (2 * x.sum((1, 2)) * (m[0] << left) + (count << (s[0] + left))) // (2 * count << (s[0] + left))


def _quantize(operator, values, m, s):
    return rescaled(_centred(operator.inputs[0], values), m[0], s[0])


def _options(operator):
    table = operator.table.BuiltinOptions()
    if table is None:
        return None
    kind = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "ADD": "AddOptions"}
    options = getattr(peer.schema, kind.get(operator.name, "FullyConnectedOptions"))()
    options.Init(table.Bytes, table.Pos)
    return options


def _activation(operator) -> str:
    if operator.name in ("MEAN", "QUANTIZE"):
        return "NONE"
    return peer.ACTIVATIONS[_options(operator).FusedActivationFunction()]


def exposed(data: bytes) -> bytes:
    """The same model with every computed tensor as an output, so that any runtime shows what each operator did."""
    model = unpack(data)
    graph = model.subgraphs[0]
    graph.outputs = [int(i) for operator in graph.operators for i in operator.outputs]
    return pack(model)


def _litert(data: bytes, x: np.ndarray) -> list[np.ndarray]:
    module = litert_module()
    interpreter = module.Interpreter(
        model_content=data, experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _tflm(data: bytes, x: np.ndarray) -> list[np.ndarray]:
    interpreter = tflm.Interpreter.from_bytes(data, arena_size=10 * len(data) + (1 << 20))
    interpreter.set_input(x, 0)
    interpreter.invoke()
    return [interpreter.get_output(i) for i in range(len(peer.subgraphs(data)[0].outputs))]


RUNTIMES = {"LiteRT": _litert, "TFLM": _tflm}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a runtime and the exact arithmetic gave for one operator."""

    operator: peer.Operator
    runtime: np.ndarray
    exact: np.ndarray


def compare(data: bytes, x: np.ndarray, bits: int, runtime: str) -> list[Comparison]:
    """Runs a narrowed model and evaluates each of its rescaling operators exactly on the inputs it had there."""
    data = exposed(data)
    graph = peer.subgraphs(data)[0]
    values = dict(zip(graph.outputs, RUNTIMES[runtime](data, x), strict=True)) | {graph.inputs[0]: x}
    return [
        Comparison(operator, values[operator.outputs[0].key[1]].astype(np.int64), outputs(operator, values, bits))
        for operator in graph.operators
        if operator.rescales
    ]
