# SPDX-License-Identifier: Apache-2.0
"""Images at another size, by means of four neighbours."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form
from tflm_export.rescale import rounding_divide


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """Where the elements of a new side lie on the old one.

    Attributes:
      low, high: the neighbours, int64.
      weight: of `high`; of `low` it is the unit less that. Integers, or float32 with a unit of 1.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Resize(Form):
    """Means of four neighbours, weighted by distance, halves away from zero.

    Attributes:
      rows, columns: of the new image.
      unit: sum of two weights; 1 where they are float32.
    """

    rows: Neighbours
    columns: Neighbours
    unit: int

    def evaluate(self, x):
        """Source: tensorflow/lite/kernels/internal/reference/resize_bilinear.h."""
        images = x.reshape(-1, *self.inputs[0].shape[1:])
        resized = self._in_float32(images) if self.unit == 1 else self._in_integers(images)
        return (resized.astype(x.dtype).reshape(len(x), *self.output.shape),)

    def _in_integers(self, x: np.ndarray) -> np.ndarray:
        one, rows, columns = self.unit, self.rows, self.columns
        dy, dz = rows.weight[:, None, None], columns.weight[:, None]
        x = x.astype(np.int64)
        upper, lower = x[:, rows.low], x[:, rows.high]
        total = (upper[:, :, columns.low] * (one - dz) + upper[:, :, columns.high] * dz) * (one - dy)
        total += (lower[:, :, columns.low] * (one - dz) + lower[:, :, columns.high] * dz) * dy
        return rounding_divide(total, one * one)

    def _in_float32(self, x: np.ndarray) -> np.ndarray:
        one, rows, columns = np.float32(1), self.rows, self.columns
        dy, dz = rows.weight[:, None, None], columns.weight[:, None]
        x = x.astype(np.float32)
        upper, lower = x[:, rows.low], x[:, rows.high]
        total = upper[:, :, columns.low] * (one - dy) * (one - dz)
        total += lower[:, :, columns.low] * dy * (one - dz)
        total += upper[:, :, columns.high] * (one - dy) * dz
        total += lower[:, :, columns.high] * dy * dz
        return total + np.float32(0.5)
