# SPDX-License-Identifier: Apache-2.0
"""Many elements to one along axes."""

import dataclasses
import math

import numpy as np

from tflm_export.program.form import Form, Rescaling, centred, reach
from tflm_export.program.value import Value
from tflm_export.rescale import Rescaler


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Reduction(Form):
    """Base of reductions.

    Attributes:
      axes: of the input's shape, from the front, each once.

    Raises:
      ValueError: the output is not of the elements that are left, or there are none to reduce.
    """

    axes: tuple[int, ...]

    def __post_init__(self):
        x, y = self.inputs[0], self.output
        if not self.count or y.size * self.count != x.size:
            raise ValueError(f"{list(x.shape)} over axes {list(self.axes)} is no {list(y.shape)}")

    @property
    def count(self) -> int:
        """How many elements become one."""
        return count_along(self.inputs[0], self.axes)

    def reduced(self, function, x: np.ndarray) -> np.ndarray:
        """A numpy reduction over the axes, in the output's shape."""
        return function(x, axis=tuple(axis + 1 for axis in self.axes)).reshape(len(x), *self.output.shape)


def count_along(x: Value, axes: tuple[int, ...]) -> int:
    """How many elements of a value stand along axes together."""
    return math.prod(x.shape[axis] for axis in axes)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RescaledReduction(Reduction):
    """Base of sums at another scale.

    Attributes:
      input_zero_point: Zx.
      rescale: of the sum.
    """

    input_zero_point: int
    rescale: Rescaler

    @property
    def rescalings(self):
        bound = float(reach(self.inputs[0], self.input_zero_point)) * self.count
        return (Rescaling(self.rescale, np.array([bound])),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Mean(RescaledReduction):
    """`y = floor((sum(x) * factor + start) / divisor)`, saturated: one exact division.

    Attributes:
      factor, start, divisor: exact integers; divisor is positive. Over a common divisor as small as they can be.
      rescale: Sx / Sy, without the count, for reports, as the input's zero point is.
    """

    factor: int
    start: int
    divisor: int

    @property
    def reach(self) -> int:
        """A bound on every integer of the numerator."""
        return reach(self.inputs[0], 0) * self.count * self.factor + abs(self.start)

    def evaluate(self, x):
        exact = np.int64 if max(self.reach, self.divisor) < 1 << 63 else object
        total = self.reduced(np.sum, x.astype(np.int64)).astype(exact)
        return (self.saturated((total * self.factor + self.start) // self.divisor),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Total(RescaledReduction):
    """`y = Zy + rescale(sum(x - Zx))`, saturated.

    Attributes:
      zero_point: Zy.
    """

    zero_point: int

    def evaluate(self, x):
        (total,) = self.accumulators(x)
        return (self.saturated(self.rescale.apply(total) + self.zero_point),)

    def accumulators(self, x):
        return (self.reduced(np.sum, centred(x, self.input_zero_point)),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Extreme(Reduction):
    """The largest or the smallest element.

    Attributes:
      is_largest: which of the two.
    """

    is_largest: bool

    def evaluate(self, x):
        return (self.reduced(np.max if self.is_largest else np.min, x),)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Position(Reduction):
    """Where along one axis the largest or the smallest element stands, the first of equals.

    Attributes:
      is_largest: which of the two.
    """

    is_largest: bool

    def evaluate(self, x):
        function = np.argmax if self.is_largest else np.argmin
        found = function(x, axis=self.axes[0] + 1)
        return (found.reshape(len(x), *self.output.shape).astype(self.output.dtype),)
