# SPDX-License-Identifier: Apache-2.0
"""Data in the forms that `fit` and `predict` take, as batches of a model's inputs, their shapes and types checked."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tflm_export.calibration import load
from tflm_export.errors import UsageError

Array: TypeAlias = np.ndarray | tf.Tensor
Batch: TypeAlias = Array | Mapping[str, Array] | Sequence[Array]
Data: TypeAlias = Batch | str | os.PathLike | tf.data.Dataset | Iterable[Batch | tuple] | Callable[[], Iterable]

MOST_IN_TUPLE = 3  # inputs, labels, weights
_NUMBERS = "biuf"  # kinds of numpy types


def batches(model: keras.Model, data: Data, batch_size: int) -> Iterator[list[np.ndarray]]:
    """The inputs in some data, batch by batch.

    Of what Python or Keras leave open, the number of the model's inputs decides:

    - An array [rows, ...] is the input of a model with one.
    - A list or tuple of as many arrays as there are inputs has the inputs, in their order.
    - Any other tuple is (inputs, labels) or (inputs, labels, weights), as in `fit`, of which the first counts.
    - A dict has arrays by input name; others are left alone. For one input, a single array may have any name.
    - Any other list, and all else that can be iterated over, has batches, each of them as above: datasets, generators,
      functions without arguments that return such, Keras sequences. Batches of a single row, as a representative
      dataset has them, are put together.
    - A path names an .npy file, or an .npz file with arrays by input name.

    Args:
      model: whose inputs are wanted.
      data: any of these.
      batch_size: rows of a batch where arrays are cut into batches, and where batches have a single row.

    Returns:
      An iterator over lists: for each input of the model, in the order of `model.inputs`, an array [rows, ...] of its
      dtype.

    Raises:
      UsageError (a ValueError): data of another kind, or an array whose name, shape or type does not fit or that has
        values that are not finite; of data that has batches, when that batch is reached.
    """
    inputs, where = _Inputs(model), "the data"
    data = _called(data)
    if isinstance(data, str | os.PathLike):
        where = os.fspath(data)
        data = load(where)
    whole = inputs.whole(data)
    if whole is None:
        return _gathered(_checked(inputs, data), batch_size)
    arrays = inputs.arrays(whole, where)
    starts = range(0, len(arrays[0]), batch_size)
    cut = ([array[start : start + batch_size] for array in arrays] for start in starts)
    return (_finite(batch, number) for number, batch in enumerate(cut))


@dataclasses.dataclass(frozen=True)
class _Input:
    """One input of a model.

    Attributes:
      name: for messages, and for dicts.
      shape: of a row; None where it is open.
      dtype: numpy's.
      remedy: what to give if all else fails.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: Any
    remedy: str

    def array(self, values, where: str) -> np.ndarray:
        """Values in the input's shape and type; a last dimension of 1 may be missing, or too many, as in `fit`."""
        if not _is_array(values):
            raise UsageError(f"input {self.name} takes arrays, got {_kind(values)} in {where}; give np.asarray of it")
        try:
            values = np.asarray(values)
        except (TypeError, ValueError) as error:  # of Keras tensors, of tensors that need a gradient
            raise UsageError(f"input {self.name} takes arrays, got {_kind(values)} in {where}: {error}") from error
        if values.dtype.kind not in _NUMBERS:
            raise UsageError(
                f"input {self.name} takes real numbers, got {values.dtype} {_shape(values)} in {where}; "
                "give inputs as model.predict takes them"
            )
        if not self._fits(values.shape) and self.shape[-1:] == (1,) and self._fits((*values.shape, 1)):
            values = values[..., np.newaxis]
        if not self._fits(values.shape) and values.shape[-1:] == (1,) and self._fits(values.shape[:-1]):
            values = values[..., 0]
        if not self._fits(values.shape):
            raise UsageError(
                f"input {self.name} takes {self}, got {values.dtype} {_shape(values)} in {where}; "
                f"{self._remedy(values.shape)}"
            )
        with np.errstate(over="ignore"):  # to infinity, which is not finite
            return values.astype(self.dtype, copy=False)

    def _fits(self, shape) -> bool:
        return len(shape) == 1 + len(self.shape) and self._is_row(shape[1:])

    def _is_row(self, shape) -> bool:
        same = len(shape) == len(self.shape)
        return same and all(wanted in (None, size) for size, wanted in zip(shape, self.shape, strict=True))

    def _remedy(self, shape) -> str:
        if self._is_row(shape):
            return "that is one row: stack them (np.stack) or batch the dataset (.batch(32))"
        if None not in self.shape and shape[1:] and np.prod(shape[1:]) == np.prod(self.shape):
            reordered = sorted(shape[1:]) == sorted(self.shape)
            return f"{'transpose' if reordered else 'reshape'} it to {self}"
        return self.remedy

    def __str__(self):
        return f"[{', '.join(['rows', *('any' if size is None else str(size) for size in self.shape)])}]"


class _Inputs:
    """All inputs of a model, and which arrays of some data are theirs."""

    def __init__(self, model):
        self._names = sorted(model.input) if isinstance(model.input, dict) else model.input_names
        self._several = len(self._names) > 1
        order = ", ".join(self._names)
        self._forms = f"[{order}], or a dict with these names" if self._several else "an array, or (inputs, labels)"
        self._described = f"{len(self._names)} inputs, {order}" if self._several else f"one input, {order}"
        remedy = "give inputs as model.predict takes them; labels, if any, in a tuple (inputs, labels)"
        self._inputs = [
            _Input(
                name,
                tuple(tensor.shape[1:]),
                tensor.dtype.as_numpy_dtype,
                f"give {self._forms}" if self._several else remedy,
            )
            for name, tensor in zip(self._names, model.inputs, strict=True)
        ]

    def whole(self, data):
        """Data that has all rows at once; None of what has batches."""
        if isinstance(data, list):
            data = _of_numbers(data)
            return None if isinstance(data, list) and not self._are_inputs(data) else data
        return data if _is_array(data) or isinstance(data, Mapping | tuple) else None

    def arrays(self, batch, where: str) -> list[np.ndarray]:
        """The arrays of a batch in the inputs' order, shapes and types."""
        found = self._in_order(batch, where)
        arrays = [each.array(values, where) for each, values in zip(self._inputs, found, strict=True)]
        if len({len(array) for array in arrays}) > 1:
            rows = ", ".join(f"{name} {len(array)}" for name, array in zip(self._names, arrays, strict=True))
            raise UsageError(f"the inputs have unequal numbers of rows in {where}: {rows}; give one of each for a row")
        return arrays

    def _are_inputs(self, batch) -> bool:
        return isinstance(batch, list | tuple) and len(batch) == len(self._names) and all(map(_is_array, batch))

    def _in_order(self, batch, where) -> list:
        given = batch = _of_numbers(batch)
        if not self._are_inputs(batch) and isinstance(batch, list | tuple) and 0 < len(batch) <= MOST_IN_TUPLE:
            batch = _of_numbers(batch[0])  # of (inputs, labels, weights)
        if self._are_inputs(batch):
            return list(batch)
        if isinstance(batch, Mapping):
            return self._by_name(batch, where)
        if not self._several and not isinstance(batch, list | tuple):
            return [batch]
        raise UsageError(f"the model takes {self._described}, got {_kind(given)} in {where}; give {self._forms}")

    def _by_name(self, arrays, where) -> list:
        if not self._several and len(arrays) == 1:
            return list(arrays.values())
        if missing := [name for name in self._names if name not in arrays]:
            there = ", ".join(map(str, arrays)) or "no arrays"
            raise UsageError(f"no data for inputs {', '.join(missing)} in {where}, which has {there}; name each so")
        return [arrays[name] for name in self._names]


def _is_array(value) -> bool:
    """Whether a value is an array, or becomes one: of numpy, TensorFlow, PyTorch, pandas."""
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _of_numbers(value):
    """A list, of lists, of Python's numbers as an array; all else as it is."""
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if first is value or not isinstance(first, bool | int | float):
        return value
    try:
        return np.asarray(value, np.float32)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the lists of the data make no array of numbers: {error}") from error


def _kind(value) -> str:
    if _is_array(value):
        return f"one array {_shape(value)}"
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, list | tuple) else kind


def _shape(values) -> list:
    return list(values.shape)


def _checked(inputs: _Inputs, data) -> Iterator[list[np.ndarray]]:
    for number, batch in enumerate(_iterated(data)):
        yield _finite(inputs.arrays(batch, f"batch {number} of the data"), number)


def _called(data):
    """What a function without arguments returns, a representative dataset's among them; all else as it is."""
    data = data.input_gen if isinstance(data, tf.lite.RepresentativeDataset) else data
    if isinstance(data, keras.layers.Layer):
        raise UsageError(f"data is the {type(data).__name__} {data.name}; give inputs, as model.predict takes them")
    if not callable(data) or (hasattr(data, "__iter__") and not isinstance(data, type)):
        return data
    try:
        inspect.signature(data).bind()
    except (TypeError, ValueError) as error:
        kind = type(data).__name__
        raise UsageError(f"data is a {kind} that takes arguments; give one without, which returns batches") from error
    return data()


def _iterated(data) -> Iterable:
    """What has batches, as something to iterate over."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):  # Keras sequences, whose iterators need not end
        return (data[number] for number in range(len(data)))
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise UsageError(
            f"data is of type {type(data).__name__}; give an array, (inputs, labels), a dict of arrays by input name, "
            "a tf.data.Dataset, batches, a function that returns these, or the path of an .npy or .npz file"
        )
    return data


def _gathered(batches: Iterable[list[np.ndarray]], batch_size: int) -> Iterator[list[np.ndarray]]:
    """Batches, those of a single row put together to `batch_size` rows where their shapes are alike."""
    rows: list[list[np.ndarray]] = []

    def together():
        taken = [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]
        rows.clear()
        return taken

    for batch in batches:
        alike = len(batch[0]) == 1 and all(
            one.shape == other.shape for one, other in zip(batch, rows[0] if rows else batch, strict=True)
        )
        if rows and (not alike or len(rows) == batch_size):
            yield together()
        if len(batch[0]) == 1:
            rows.append(batch)
        else:
            yield batch
    if rows:
        yield together()


def _finite(batch: list[np.ndarray], number: int) -> list[np.ndarray]:
    if not all(np.isfinite(array).all() for array in batch):
        raise UsageError(f"batch {number} of the calibration data has values that are not finite (NaN, infinite)")
    return batch
