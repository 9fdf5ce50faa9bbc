# SPDX-License-Identifier: Apache-2.0
"""Numbers of forms at random, with what is at the ends of what they may be more often than chance has it."""

import numpy as np

from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.grid import Grid
from tflm_export.program.value import Value, limits_of
from tflm_export.rescale import Rescaler, RoundingShift


class Draw:
    """A source of random numbers.

    Args:
      seed: of all of them.
    """

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)

    def size(self, most: int = 4) -> int:
        """1 to `most`, 1 more often."""
        return int(max(1, self.random.integers(0, most, endpoint=True)))

    def flag(self) -> bool:
        return bool(self.random.integers(2))

    def one(self, choices):
        return choices[self.random.integers(len(choices))]

    def integers(self, dtype, shape, extreme: float = 0.3) -> np.ndarray:
        """Integers of a type, a share of them its ends."""
        low, high = limits_of(np.dtype(dtype))
        inside = self.random.integers(low, high, shape, endpoint=True)
        ends = self.random.choice([low, high], shape)
        return np.where(self.random.random(shape) < extreme, ends, inside).astype(dtype)

    def zero_point(self, dtype) -> int:
        """About the middle of the type, or an end, or anything."""
        low, high = limits_of(np.dtype(dtype))
        middle = (low + high + 1) // 2 + int(self.random.integers(-9, 10))
        return self.one([middle, middle, 0, low, high, int(self.integers(dtype, (), 0))])

    def clamp(self, dtype) -> tuple[int, int]:
        """The limits of a type, or narrower ones."""
        low, high = limits_of(np.dtype(dtype))
        if self.random.random() < 0.8:
            return low, high
        a, b = sorted(int(v) for v in self.integers(dtype, 2, 0))
        return a, b

    def value(self, name: str, dtype, shape) -> Value:
        return Value(name, np.dtype(dtype), tuple(shape))

    def kind(self) -> str:
        """How factors round: "narrow", "stock" or "shift"."""
        return self.one(["narrow"] * 6 + ["stock"] * 3 + ["shift"])

    def rescaler(
        self, reach: float, target: float, count: int = 1, is_wide: bool = False, kind: str | None = None
    ) -> Rescaler:
        """Factors that bring sums of a reach to about a target.

        Args:
          reach: the largest magnitude of a sum.
          target: the largest magnitude of an output.
          count: how many factors.
          is_wide: whether sums have 64 bits.
          kind: see `kind`; by default any.
        """
        factor, kind = target / max(reach, 1.0) * 2.0 ** self.random.uniform(-1, 4, count), kind or self.kind()
        if kind == "shift":
            return RoundingShift(int(np.clip(np.rint(-np.log2(factor[0])), 0, 31)))
        factor = np.where(self.random.random(count) < 0.05, self.one([0.0, 2.0**-40]), factor)
        if kind == "stock":
            return Tflm().rescale(factor, is_wide)
        grid = Grid(self.one([1, 2, 8, 15]))
        return Narrow(grid).rescale(grid.snap(factor, "nearest"), is_wide)
