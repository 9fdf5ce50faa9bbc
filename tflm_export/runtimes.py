# SPDX-License-Identifier: Apache-2.0
"""The stock runtimes, where they are installed: LiteRT (XNNPACK or reference kernels) and TensorFlow Lite Micro."""

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterable

import numpy as np

from tflm_export.flatbuffer.model import Tensor, parse

LITERT_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite.python.interpreter")


@functools.cache
def litert_module():
    """The first LiteRT interpreter module that is installed.

    Raises:
      ImportError: none is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in LITERT_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("no LiteRT interpreter is installed; pip install ai-edge-litert")


@functools.cache
def tflm_module():
    """The interpreter module of the tflite-micro wheel.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module("tflite_micro").runtime
    except ImportError as error:
        raise ImportError("TensorFlow Lite Micro is not installed; pip install tflite-micro") from error


def installed() -> list[str]:
    """Which of "LiteRT" and "TFLM" can be imported."""
    found = []
    for name, module in (("LiteRT", litert_module), ("TFLM", tflm_module)):
        with contextlib.suppress(ImportError):
            module()
            found.append(name)
    return found


class LiteRT:
    """A model on LiteRT, batched by resizing its input.

    Args:
      model: a .tflite file.
      reference: use the reference kernels instead of XNNPACK and the optimised ones.
      keep_tensors: keep what every operator computed, for `tensors`.
    """

    def __init__(self, model: bytes, reference: bool = False, keep_tensors: bool = False):
        module = litert_module()
        kind = module.OpResolverType
        resolver = kind.BUILTIN_REF if reference else kind.AUTO
        self._interpreter = module.Interpreter(
            model_content=model,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep_tensors,
            num_threads=os.cpu_count(),
        )
        self._interpreter.allocate_tensors()
        self.inputs = self._interpreter.get_input_details()
        self.output = self._interpreter.get_output_details()[0]

    @property
    def input(self) -> dict:
        """Details of the first input."""
        return self.inputs[0]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Outputs of the first output tensor for a batch of inputs, in the model's own integer types."""
        batch = np.ascontiguousarray(batch, self.input["dtype"])
        if tuple(self._interpreter.get_input_details()[0]["shape"]) != batch.shape:
            self._interpreter.resize_tensor_input(self.input["index"], batch.shape)
            self._interpreter.allocate_tensors()
        return self.invoke([batch])

    def invoke(self, arrays: list[np.ndarray]) -> np.ndarray:
        """The first output of one inference on inputs of the shapes in the file."""
        for details, array in zip(self.inputs, arrays, strict=True):
            self._interpreter.set_tensor(details["index"], array)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])

    def tensor(self, index: int) -> np.ndarray:
        """What a tensor held after the last inference; needs `keep_tensors`."""
        return self._interpreter.get_tensor(index)


class TFLM:
    """A model on TensorFlow Lite Micro (the tflite-micro wheel), one row at a time.

    Args:
      model: a .tflite file.
      arena_size: bytes of working memory; None for a generous guess.
      keep_tensors: keep what every operator computed, for `tensors`.
    """

    def __init__(self, model: bytes, arena_size: int | None = None, keep_tensors: bool = False):
        runtime = tflm_module()
        config = runtime.InterpreterConfig
        self._interpreter = runtime.Interpreter.from_bytes(
            model,
            arena_size=arena_size or (40 if keep_tensors else 10) * len(model) + (1 << 22),
            intrepreter_config=config.kPreserveAllTensors if keep_tensors else config.kAllocationRecording,
        )

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Outputs of the first output tensor for a batch of inputs."""
        return np.concatenate([self.invoke([row[None]]) for row in batch])

    def invoke(self, arrays: list[np.ndarray]) -> np.ndarray:
        """The first output of one inference."""
        for position, array in enumerate(arrays):
            self._interpreter.set_input(array, position)
        self._interpreter.invoke()
        return self._interpreter.get_output(0)

    def tensor(self, index: int) -> np.ndarray:
        """What a tensor of the main subgraph held after the last inference; needs `keep_tensors`."""
        return self._interpreter.GetTensor(index, 0)["tensor_data"]


def all_tensors(
    runtime: LiteRT | TFLM, tensors: list[Tensor], rows: list[np.ndarray], model: bytes
) -> dict[int, np.ndarray]:
    """What tensors held, inference after inference.

    Args:
      runtime: made with `keep_tensors`, unless only outputs of the model are asked for (on LiteRT).
      tensors: of the main subgraph.
      rows: one array for each input, [inferences * first dimension, ...].
      model: the file it runs.

    Returns:
      Arrays by tensor index, inferences along the first dimension.
    """
    graph = parse(model).subgraphs[0]
    steps = [tensor.shape[0] if tensor.shape else 1 for tensor in graph.inputs]
    values: dict[int, list] = {tensor.index: [] for tensor in tensors}
    for i in range(len(rows[0]) // steps[0]):
        row = [a[i * s : (i + 1) * s].reshape(t.shape) for a, s, t in zip(rows, steps, graph.inputs, strict=True)]
        output = runtime.invoke(row)
        for index, found in values.items():
            value = output if index == graph.outputs[0].index else runtime.tensor(index)
            found.append(np.atleast_1d(np.array(value)))
    return {index: np.concatenate(arrays) for index, arrays in values.items()}


def batches(inputs: np.ndarray, size: int = 250) -> Iterable[np.ndarray]:
    """Inputs in batches of at most `size` rows."""
    return (inputs[i : i + size] for i in range(0, len(inputs), size))


def run_all(runtime, inputs: np.ndarray, on_batch: Callable[[int], None] = lambda rows: None) -> np.ndarray:
    """All outputs of a runtime; `on_batch` is told the number of rows after each batch."""
    outputs = []
    for batch in batches(inputs):
        outputs.append(runtime.run(batch))
        on_batch(len(batch))
    return np.concatenate(outputs)


def quantize_input(inputs: np.ndarray, details: dict) -> np.ndarray:
    """Real inputs in a tensor's integers: round(x / scale) + zero_point, saturated. Integer inputs are left alone."""
    scale, zero_point = details["quantization"]
    if not scale or np.issubdtype(inputs.dtype, np.integer):
        return inputs
    limits = np.iinfo(details["dtype"])
    integers = np.rint(inputs / np.float64(scale)) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(details["dtype"])
