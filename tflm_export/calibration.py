# SPDX-License-Identifier: Apache-2.0
"""What real inputs say about a model: the layers' input statistics, and what clipping would cost."""

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Hashable, Mapping

import numpy as np

from tflm_export import files
from tflm_export.errors import ModelError, UsageError
from tflm_export.flatbuffer.model import Model, Operator, Tensor
from tflm_export.held import real_range
from tflm_export.ops import op_for
from tflm_export.ops.statistics import Statistics
from tflm_export.simulator import Trace, simulate, unsupported

_STARTS = (b"PK", b"\x93NUMPY")  # of .npz and .npy files
MOST_BEYOND = 0.01  # of real values beyond the range of an input
LEAST_SPAN = 1 / 32  # of the range of an input that real values reach over
LARGEST_SAMPLE = 1 << 20  # elements of an activation that clipping is measured on


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The stock model's tensors over a set of inputs.

    Attributes:
      trace: all tensors, as TFLM computes them (LiteRT's reference kernel of SUM takes int8 for uint8).
    """

    trace: Trace

    @classmethod
    def run(cls, model: Model, inputs) -> "Calibration":
        """Runs the model on the inputs.

        Args:
          model: the stock model.
          inputs: one array for each input, [rows, ...] in the tensors' integer types.

        Raises:
          ModelError: the model has operators that cannot be simulated; all are named.
          UsageError: the inputs do not fit the model.
        """
        problems = unsupported(model)
        if problems:
            raise ModelError(f"calibration data cannot be used: {'; '.join(problems)}")
        return cls(simulate(model, inputs, "tflm"))

    def statistics(self, operator: Operator) -> Statistics | None:
        """First and second moments of what the weights of an operator are multiplied with.

        None for operators that no inference of the main subgraph reaches, and for those that read a variable, of which
        no trace says what it held.
        """
        if operator.subgraph:
            return None
        inputs = [None if t is None else self.trace.tensors.get(t.key, t.data) for t in operator.inputs]
        return op_for(operator).statistics(operator, inputs)

    def clipping(self, key: Hashable, scale: float) -> float:
        """Mean squared error, in real units, of clipping a tensor to the int8 range at another scale."""
        tensor = self.trace.model.subgraphs[key[0]].tensors[key[1]]
        if scale >= tensor.scale or key not in self.trace.tensors:
            return 0.0
        values = self.trace.tensors[key].reshape(-1)
        values = values[:: max(1, values.size // LARGEST_SAMPLE)] - np.float32(tensor.zero_point)
        limits = np.iinfo(self.trace.tensors[key].dtype)
        low, high = ((end - tensor.zero_point) * scale / tensor.scale for end in (limits.min, limits.max))
        return float(np.mean(np.square(values - np.clip(values, low, high)), dtype=np.float64)) * tensor.scale**2


def load(path: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; the one of an .npy file under the name "".

    Raises:
      UsageError: the file cannot be read, or is no file of plain arrays.
    """
    content = files.read(path)
    if not content.startswith(_STARTS):
        raise UsageError(
            f"{path} is no .npz file of arrays of numbers, and no .npy file: it starts with {content[:8]!r}; "
            "numpy.savez(FILE, array) writes one"
        )
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} is no .npz file of arrays of numbers: {error}") from error
    others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if others:
        raise UsageError(f"{path} is no .npz file of arrays of numbers: {', '.join(others)} is none")
    return arrays


def split(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows to calibrate with, and every fourth row to measure on.

    Raises:
      UsageError: there are fewer than four rows.
    """
    rows = min(len(array) for array in arrays.values())
    if rows < 4:
        raise UsageError(f"calibration needs at least four rows, as every fourth measures; the data has {rows}")
    held_out = np.arange(rows) % 4 == 3
    return (
        {name: array[:rows][~held_out] for name, array in arrays.items()},
        {name: array[:rows][held_out] for name, array in arrays.items()},
    )


def by_input(model: Model, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`quantized_inputs` by input name."""
    names = [tensor.name for tensor in model.subgraphs[0].inputs]
    return dict(zip(names, quantized_inputs(model, arrays), strict=True))


def quantized_inputs(model: Model, arrays: dict[str, np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Arrays of calibration or test data in the integers of a model's inputs.

    Args:
      model: the model.
      arrays: for a model with one input, one array, bare or under any name; for several, arrays by input name. Integers
        of the input's type are taken as they are; floats are real values and are quantised with the input's scale. A
        missing first dimension of 1 or other shape of the same size a row is reshaped.

    Raises:
      UsageError: an array is missing, is none, is of another integer type or size, or has values that are not finite.
    """
    tensors = model.subgraphs[0].inputs
    if isinstance(arrays, np.ndarray):
        arrays = {"": arrays}
    if not isinstance(arrays, Mapping):
        raise UsageError(f"calibration takes an array, or a dict of arrays by input name, got {type(arrays).__name__}")
    others = [f"{k}: {type(v).__name__}" for k, v in arrays.items() if not isinstance(v, np.ndarray | np.generic)]
    if others:
        raise UsageError(f"calibration takes numpy arrays, got {', '.join(others)}")
    if len(tensors) == 1 and len(arrays) == 1:
        arrays = {tensors[0].name: next(iter(arrays.values()))}
    missing = [t.name for t in tensors if t.name not in arrays]
    if missing:
        there = f"arrays {', '.join(arrays)}; name each as its input" if arrays else "no arrays"
        raise UsageError(f"no data for inputs {', '.join(missing)}; the data has {there}")
    found = [_quantized(tensor, arrays[tensor.name], real_range(model, tensor)) for tensor in tensors]
    if found and all(values.size > 1 and not np.ptp(values) for values in found):
        value = found[0].flat[0]
        raise UsageError(f"the data is {value} throughout, which says nothing about the model; give real inputs")
    return found


def _require_range(where: str, values: np.ndarray, held: tuple[float, float] | None) -> None:
    """Raises UsageError where real values are clearly no inputs of the model: scaled otherwise than its own were."""
    if held is None or not values.size:
        return
    low, high = held
    slack = (high - low) / 256
    beyond = float(np.mean((values < low - slack) | (values > high + slack)))
    share = float(np.ptp(values)) / (high - low)
    if beyond <= MOST_BEYOND and (share >= LEAST_SPAN or not share):
        return
    problem = f"{beyond:.1%} of it would saturate" if beyond > MOST_BEYOND else f"it spans {share:.1%} of that"
    raise UsageError(
        f"{where} takes {low:.4g} to {high:.4g}, and the data reaches from {values.min():.4g} to {values.max():.4g}: "
        f"{problem}; scale it as for training, or give the integers that are meant"
    )


def _quantized(tensor: Tensor, values: np.ndarray, held: tuple[float, float] | None) -> np.ndarray:
    where = f"input {tensor.name}, {tensor.type} {list(tensor.shape)}"
    types = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "FLOAT32": np.float32}
    dtype = types.get(tensor.type)
    if dtype is None:
        raise UsageError(f"{where}: this type cannot be calibrated")
    row = int(np.prod(tensor.shape[1:], dtype=np.int64))
    wanted = ", ".join(["rows", *map(str, tensor.shape[1:])])
    if values.ndim == 0 or not len(values) or values[0].size != row:
        raise UsageError(f"{where} does not take data of shape {list(values.shape)}; give [{wanted}]")
    values = values.reshape(-1, *tensor.shape[1:])
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise UsageError(f"{where}: the data has values that are not finite (NaN or infinite); leave those rows out")
    if np.issubdtype(values.dtype, np.floating):
        _require_range(where, values, held)
    if values.dtype == dtype:
        return values
    if dtype is np.float32 and np.issubdtype(values.dtype, np.floating):
        return values.astype(dtype)
    if not np.issubdtype(values.dtype, np.floating) or tensor.quantization is None:
        raise UsageError(f"{where} does not take data of type {values.dtype}; give {np.dtype(dtype)} or real values")
    limits = np.iinfo(dtype)
    integers = np.rint(values.astype(np.float64) / tensor.scale) + tensor.zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)
