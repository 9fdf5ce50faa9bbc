# SPDX-License-Identifier: Apache-2.0
"""What an operator is in integers: the base of all forms, and what they share.

A form is a frozen dataclass of integers that computes its outputs from its inputs by itself (`evaluate`); that is the
simulator. It knows no operator and no back end. Arrays have one dimension in front of the values' shapes: the
inferences of a run. What is the same in all of them (constants) has one there.
"""

import contextlib
import dataclasses
from collections.abc import Iterable

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.program.value import Value
from tflm_export.rescale import Rescaler


@contextlib.contextmanager
def running(label: str, unknown: Iterable[str] = ()):
    """A context for the work of an operator, whose numbers come from the file.

    Args:
      label: of the operator.
      unknown: labels of its tensors whose shapes the file leaves open.

    Raises:
      ModelError: in place of what Python and numpy raise, or would only warn of, where the numbers make no sense.
    """
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            yield
    except ModelError:
        raise
    except (ArithmeticError, IndexError, MemoryError, ValueError) as error:
        if names := ", ".join(unknown):
            raise ModelError(
                f"{label} has tensors whose shapes are known only when it runs: {names}; convert the model with inputs "
                "of fixed shape, of one row"
            ) from error
        raise ModelError(f"the file is damaged: {label} cannot run: {error}") from error


@dataclasses.dataclass(frozen=True)
class Rescaling:
    """A rescale inside a form, for reports and hardware.

    Attributes:
      rescale: the factors.
      accumulator: float64, broadcasts against the factors: the largest |acc| over all inputs of the values' types.
      is_aligned: whether the products of all factors are aligned to the largest shift and summed before one rounding.
    """

    rescale: Rescaler
    accumulator: np.ndarray
    is_aligned: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Form:
    """Base of all forms.

    Attributes:
      inputs: what it reads; constants that are written into it are not among them.
      outputs: what it writes. A variable among them keeps that for the next inference.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def output(self) -> Value:
        """Its first output."""
        return self.outputs[0]

    def evaluate(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Its outputs.

        Args:
          inputs: an array for each input in its own type, [inferences or 1, *shape].

        Returns:
          An array for each output in its own type, [inferences or 1, *shape].
        """
        raise NotImplementedError

    @property
    def multiplications(self) -> int:
        """Of an input and a weight, or of two inputs, in an inference; those of rescales are not counted."""
        return 0

    def require_moderate(self) -> None:
        """Raises ValueError where it would take absurd amounts of memory or time to evaluate it."""

    @property
    def rescalings(self) -> tuple[Rescaling, ...]:
        """Its rescales, in the order of the operator's factors; none where they are the stock runtimes' own steps."""
        return ()

    def accumulators(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """What each of its rescales gets of inputs as for `evaluate`, where each gives outputs of its own.

        Returns:
          An int64 array for each of `rescalings`, element by element as in the output; nothing where rescales are
          aligned, or where an output takes several of them one after another.
        """
        return ()

    def saturated(self, integers: np.ndarray, clamp: tuple[int, int] | None = None) -> np.ndarray:
        """Integers in the type of the first output, within its limits or narrower ones."""
        return np.clip(integers, *(clamp or self.output.limits)).astype(self.output.dtype)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Broadcasting(Form):
    """Base of forms that give each element of the output from one place of every input, or of its row.

    Raises:
      ValueError: the inputs' shapes do not broadcast to the output's.
    """

    def __post_init__(self):
        if np.broadcast_shapes(*(value.shape for value in self.inputs)) != self.output.shape:
            shapes = " and ".join(str(list(value.shape)) for value in self.inputs)
            raise ValueError(f"inputs of {shapes} do not give {list(self.output.shape)}")


def lined_up(array: np.ndarray, rank: int) -> np.ndarray:
    """An array [inferences, *shape] with ones before the shape, so that it broadcasts against `rank` dimensions."""
    missing = rank - (array.ndim - 1)
    return array.reshape(len(array), *(1,) * missing, *array.shape[1:]) if missing > 0 else array


def centred(array: np.ndarray, zero_point: int, dtype=np.int64) -> np.ndarray:
    """Integers with a zero point subtracted."""
    return np.subtract(array, zero_point, dtype=dtype)


def reach(value: Value, zero_point: int) -> int:
    """The largest |integer - zero point| of a value."""
    low, high = value.limits
    return max(high - zero_point, zero_point - low)


def sum_bounds(rows: np.ndarray, bias: np.ndarray, limits: tuple[int, int], summed: int = 1) -> tuple:
    """The smallest and the largest sum of products with its bias; float64 [channels / summed] each.

    In float64, for a bias of 64 bits and what is added to it may leave int64.

    Args:
      rows: centred weights [channels, elements].
      bias: int64 [channels / summed].
      limits: smallest and largest centred input.
      summed: how many consecutive channels go into one sum.
    """
    total, positive = (part.sum(1, dtype=np.int64).reshape(-1, summed).sum(1) for part in (rows, np.maximum(rows, 0)))
    negative, (low, high), bias = total - positive, limits, bias.astype(np.float64)
    return positive * low + negative * high + bias, positive * high + negative * low + bias


def largest_sum(rows: np.ndarray, bias: np.ndarray, limits: tuple[int, int], summed: int = 1) -> np.ndarray:
    """The largest magnitude of a sum; see `sum_bounds`."""
    return np.maximum(*map(np.abs, sum_bounds(rows, bias, limits, summed)))


def wrapped(accumulator: np.ndarray) -> np.ndarray:
    """Accumulators of 32 bits, which wrap, as int64."""
    if accumulator.size and max(-int(accumulator.min()), int(accumulator.max())) >= 1 << 31:
        return accumulator.astype(np.int32).astype(np.int64)
    return accumulator


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a @ b` for integers, through floating-point matrix multiplication of a precision that holds every partial sum.

    Args:
      a: [..., rows, taps], integers.
      b: [..., taps, columns], integers.

    Returns:
      int64 array.
    """
    limits = np.iinfo(a.dtype)
    largest = max(-int(limits.min), int(limits.max)) if a.dtype.itemsize < 4 else int(np.abs(a).max(initial=0))
    bound = largest * int(np.abs(b.astype(np.int64)).sum(-2).max(initial=0))
    if bound >= 1 << 53:
        return a.astype(np.int64) @ b.astype(np.int64)
    precision = np.float32 if bound < 1 << 24 else np.float64
    return (a.astype(precision) @ b.astype(precision)).astype(np.int64)


def row_blocks(rows: int, bytes_per_row: int, budget: int = 1 << 26):
    """Slices of rows of at most `budget` bytes, one row at least."""
    step = max(1, budget // max(1, bytes_per_row))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
