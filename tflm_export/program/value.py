# SPDX-License-Identifier: Apache-2.0
"""What forms read and write: arrays of integers with a name, a type and a shape."""

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Tensor, tensor_label

_DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
}
INTEGER_TYPES = ("INT8", "UINT8", "INT16", "INT32", "INT64")
MOST_ELEMENTS = 1 << 40  # of a tensor; a file that has more is damaged


@functools.cache
def limits_of(dtype) -> tuple[int, int]:
    """The smallest and the largest integer of a numpy type."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Which channels of another value (places of its last axis) a value holds.

    Attributes:
      key: of the other value.
      channels: how many that has.
      indices: of those held, in their order; int64.
    """

    key: Hashable
    channels: int
    indices: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a program.

    Attributes:
      key: its identity: (subgraph, index) of a tensor of the file, or anything else for what lies between two forms.
      dtype: of its elements.
      shape: of one inference; a run of several has one more dimension in front.
      name: for people.
      data: its elements where they are constant, else None.
      is_variable: whether it keeps its elements from one inference to the next; `data` is then what it starts with.
      scale, zero_point: what its integers stand for, `scale * (integer - zero_point)`, for people and at the borders of
        a program; scale is None where it is not one number. Forms have in them what they compute with.
      selection: what it is the rest of, where a pass dropped channels; else None.
    """

    key: Hashable
    dtype: np.dtype
    shape: tuple[int, ...]
    name: str = ""
    data: np.ndarray | None = dataclasses.field(default=None, repr=False)
    is_variable: bool = False
    scale: float | None = None
    zero_point: int = 0
    selection: Selection | None = None

    def among(self, values: Mapping[Hashable, np.ndarray]) -> np.ndarray | None:
        """What it holds, [inferences, *shape]: as it was computed, or its constant elements; None where neither is."""
        if self.key in values:
            return values[self.key]
        return None if self.data is None else self.data[None]

    @property
    def is_constant(self) -> bool:
        """Whether it has the same elements in all inferences, `data`."""
        return self.data is not None and not self.is_variable

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """How messages name it."""
        where, index = self.key if isinstance(self.key, tuple) and len(self.key) == 2 else ("", self.key)
        return tensor_label(index, self.name) if isinstance(where, int) else self.name or str(self.key)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer of its type."""
        return limits_of(self.dtype)

    def part(self, name: str, dtype=None) -> "Value":
        """A value of the same shape that lies on the way to this one."""
        return Value((self.key, name), np.dtype(dtype or self.dtype), self.shape, f"{self.name} {name}".strip())


def value_of(tensor: Tensor) -> Value:
    """The value that a tensor of a file is.

    Raises:
      ModelError: its type is none this package computes with, its shape is none, or its type does not hold
        its zero point.
    """
    dtype = np.dtype(dtype_of(tensor))
    if min(tensor.shape, default=0) < 0 or math.prod(tensor.shape) > MOST_ELEMENTS:
        raise ModelError(f"the file is damaged: {tensor.label} has shape {list(tensor.shape)}")
    if tensor.is_quantized and not limits_of(dtype)[0] <= tensor.zero_point <= limits_of(dtype)[1]:
        raise ModelError(f"the file is damaged: {tensor.label} has zero point {tensor.zero_point}, outside {dtype}")
    data = tensor.data
    if tensor.is_variable:
        start = np.array(tensor.zero_point if tensor.is_quantized else 0, dtype)
        data = np.broadcast_to(start, tensor.shape)  # takes no memory, whatever the file says of its size
    per_tensor = tensor.quantization is not None and tensor.quantization.scale.values.size == 1
    real = (tensor.scale, tensor.zero_point) if per_tensor else (None, 0)
    return Value(tensor.key, dtype, tensor.shape, tensor.name, data, tensor.is_variable, *real)


def dtype_of(tensor: Tensor) -> type:
    """The numpy type of a tensor's elements.

    Raises:
      ModelError: the type is none this package computes with.
    """
    if tensor.type not in _DTYPES:
        raise ModelError(f"{tensor.label} is {tensor.type}, which is not simulated")
    return _DTYPES[tensor.type]
