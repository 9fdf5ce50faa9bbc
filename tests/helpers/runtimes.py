# SPDX-License-Identifier: Apache-2.0
"""Every tensor of a model on LiteRT's reference kernels and on TensorFlow Lite Micro, beside the simulation."""

import numpy as np
from tflite_micro import runtime as tflm

from tests.helpers.internals import dtype_of, simulate
from tflm_export.flatbuffer.model import Model, parse
from tflm_export.runtimes import litert_module

RUNTIMES = ("tflite", "tflm")


def litert_layers(data: bytes, rows: list[list[np.ndarray]]) -> dict[int, np.ndarray]:
    """Every tensor of every inference on LiteRT's reference kernels."""
    module = litert_module()
    interpreter = module.Interpreter(
        model_content=data,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()

    def run(row, keys):
        for tensor, array in zip(parse(data).subgraphs[0].inputs, row, strict=True):
            interpreter.set_tensor(tensor.index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(key) for key in keys]

    return _all_rows(data, rows, run)


def tflm_layers(data: bytes, rows: list[list[np.ndarray]]) -> dict[int, np.ndarray]:
    """Every tensor of every inference on TensorFlow Lite Micro."""
    interpreter = tflm.Interpreter.from_bytes(
        data,
        arena_size=40 * len(data) + (1 << 22),
        intrepreter_config=tflm.InterpreterConfig.kPreserveAllTensors,
    )

    def run(row, keys):
        for position, array in enumerate(row):
            interpreter.set_input(array, position)
        interpreter.invoke()
        return [interpreter.GetTensor(key, 0)["tensor_data"] for key in keys]

    return _all_rows(data, rows, run)


def computed(model: Model) -> list:
    """The tensors that operators of the main subgraph compute, handles of variables left out."""
    graph = model.subgraphs[0]
    return [t for operator in graph.operators for t in operator.outputs if t.type != "RESOURCE"]


def _all_rows(data: bytes, rows, run) -> dict[int, np.ndarray]:
    keys = [tensor.index for tensor in computed(parse(data))]
    values = [[np.array(value) for value in run(row, keys)] for row in rows]
    return {key: np.concatenate([np.atleast_1d(v[i]) for v in values]) for i, key in enumerate(keys)}


LAYERS = {"tflite": litert_layers, "tflm": tflm_layers}


def random_rows(model: Model, count: int, seed: int = 0) -> list[list[np.ndarray]]:
    """Uniform integers over each input's type, or floats spread over a few units."""
    random = np.random.default_rng(seed)

    def one(tensor):
        dtype = dtype_of(tensor)
        if dtype == np.float32:
            return random.normal(0, 3, tensor.shape).astype(dtype)
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, tensor.shape).astype(dtype)

    return [[one(tensor) for tensor in model.subgraphs[0].inputs] for _ in range(count)]


def batch(rows: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate([np.atleast_1d(array) for array in column]) for column in zip(*rows, strict=True)]


def differences(data: bytes, rows: list[list[np.ndarray]], runtime: str) -> list[str]:
    """Every tensor in which the simulation and a runtime differ."""
    trace = simulate(data, batch(rows), runtime)
    layers = LAYERS[runtime](data, rows)
    lines = []
    for tensor in computed(trace.model):
        ours, theirs = trace[tensor], layers[tensor.index].reshape(trace[tensor].shape)
        assert ours.dtype == theirs.dtype
        wrong = ours != theirs
        if wrong.any():
            samples = list(zip(ours[wrong][:5].tolist(), theirs[wrong][:5].tolist(), strict=True))
            lines.append(f"{tensor.name}: {wrong.sum()} of {wrong.size} differ, (ours, theirs) {samples}")
    return lines
