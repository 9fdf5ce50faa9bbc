# SPDX-License-Identifier: Apache-2.0
"""The weights of a layer as they were before a file rounded them."""

import dataclasses

import numpy as np

_BLOCK = 1 << 18  # weights at a time: keeps temporary memory small beside the file


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What the weights and the bias of a layer are to stand for.

    Attributes:
      rows: centred weights, [channels, elements]: integers, or real numbers in units of the scale.
      scale: of the weights, [1] or [channels].
      bias: in units of the scales of the input and of the weights, [channels]; None where there is none.
    """

    rows: np.ndarray
    scale: np.ndarray
    bias: np.ndarray | None = None

    def least_scale(self, otherwise: np.ndarray, largest: int) -> np.ndarray:
        """The smallest scales at which no weight exceeds an integer; [1] or [channels], as `otherwise`.

        Args:
          otherwise: what they are where all weights are 0.
          largest: the largest integer.
        """
        reach = np.abs(self.rows).max(1) * self.scale.astype(np.float64)
        reach = reach if otherwise.size > 1 else reach.max(keepdims=True)
        return np.where(reach > 0, reach / largest, otherwise)

    def rounding_error(self, scale: np.ndarray) -> np.ndarray:
        """Summed squares of what rounding to nearest at other scales does to the weights, real; [1] or [channels]."""
        step = np.broadcast_to(scale, len(self.rows))[:, None]
        ratio = np.divide(self.scale.reshape(-1, 1), step, out=np.zeros(step.shape), where=step > 0)
        error = np.zeros(len(step))
        size = max(1, _BLOCK // self.rows.shape[1])
        for block in (slice(i, i + size) for i in range(0, len(step), size)):
            target = self.rows[block] * ratio[block]
            error[block] = np.square((target - np.rint(target)) * step[block]).sum(1)
        return error if scale.size > 1 else error.sum(keepdims=True)

    def lost(self, rows: np.ndarray, growth: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """What sums lose, on average, with integers at scales that grew, in units of the scale; float64 [channels].

        Args:
          rows: the integers, [channels, elements].
          growth: their scales over these, [1] or [channels].
          mean: of what each element is multiplied with, [elements] or [channels, elements].
        """
        return ((self.rows - rows * growth.reshape(-1, 1)) * mean).sum(1)

    def where(self, chosen: np.ndarray, other: "Reference") -> "Reference":
        """This one in the channels that are chosen (bool [1] or [channels]), the other one elsewhere."""
        bias = None if other.bias is None else np.where(chosen, self.bias, other.bias)
        rows = np.where(chosen[:, None], self.rows, other.rows)
        return Reference(rows, np.where(chosen, self.scale, other.scale), bias)
