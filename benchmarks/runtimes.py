"""The runtimes that models are compared on: LiteRT (XNNPACK or reference kernels) and TensorFlow Lite Micro."""

import functools
import importlib
import os
from collections.abc import Callable, Iterable

import numpy as np

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


class LiteRT:
    """A model on LiteRT, batched by resizing its input.

    Args:
      model: a .tflite file.
      reference: use the reference kernels instead of XNNPACK and the optimised ones.
    """

    def __init__(self, model: bytes, reference: bool = False):
        module = litert_module()
        kind = module.OpResolverType
        resolver = kind.BUILTIN_REF if reference else kind.AUTO
        self._interpreter = module.Interpreter(
            model_content=model, experimental_op_resolver_type=resolver, num_threads=os.cpu_count()
        )
        self._interpreter.allocate_tensors()
        (self.input,) = self._interpreter.get_input_details()
        self.output = self._interpreter.get_output_details()[0]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Outputs of the first output tensor for a batch of inputs, in the model's own integer types."""
        batch = np.ascontiguousarray(batch, self.input["dtype"])
        if tuple(self._interpreter.get_input_details()[0]["shape"]) != batch.shape:
            self._interpreter.resize_tensor_input(self.input["index"], batch.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self.input["index"], batch)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])


class TFLM:
    """A model on TensorFlow Lite Micro (the tflite-micro wheel), one row at a time.

    Args:
      model: a .tflite file.
      arena_size: bytes of working memory; None for a generous guess.
    """

    def __init__(self, model: bytes, arena_size: int | None = None):
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_size or 10 * len(model) + (1 << 20))

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Outputs of the first output tensor for a batch of inputs."""
        return np.concatenate([self._one(row[None]) for row in batch])

    def _one(self, row: np.ndarray) -> np.ndarray:
        self._interpreter.set_input(row, 0)
        self._interpreter.invoke()
        return self._interpreter.get_output(0)


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
