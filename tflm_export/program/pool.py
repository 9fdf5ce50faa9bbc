# SPDX-License-Identifier: Apache-2.0
"""Mean and maximum of windows, at one scale."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form
from tflm_export.program.windows import Windows
from tflm_export.rescale import rounding_divide


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Form):
    """Base of pools over [images, height, width, channels].

    Attributes:
      windows: over the image.
      clamp: smallest and largest output.

    """

    windows: Windows
    clamp: tuple[int, int]

    def require_moderate(self):
        self.windows.check_sizes(self.inputs[0].shape[3])

    def evaluate(self, x):
        images = x.reshape(-1, *self.inputs[0].shape[1:])
        return (self.saturated(self.pooled(images), self.clamp).reshape(len(x), *self.output.shape),)

    def pooled(self, images: np.ndarray) -> np.ndarray:
        """Before they are clamped."""
        raise NotImplementedError


class AveragePool(Pool):
    """Rounded mean of the window's part inside the image, halves away from zero, of integers with their zero point."""

    def pooled(self, images):
        """Source: AveragePool in tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h."""
        count = self.sums(np.ones((1, *images.shape[1:3], 1), np.int32))
        return rounding_divide(self.sums(images), count)

    def sums(self, images: np.ndarray) -> np.ndarray:
        """Of each window; int32 [images, output height, output width, channels]."""
        padded = self.windows.pad(images.astype(np.int32), 0)
        return sum(self.windows.tap(padded, *tap) for tap in self.windows.taps)


class MaxPool(Pool):
    """Largest integer of the window."""

    def pooled(self, images):
        """Source: MaxPool in tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h."""
        view = self.windows
        padded = view.pad(images, np.iinfo(images.dtype).min)
        largest = view.tap(padded, 0, 0)
        for tap in view.taps[1:]:
            largest = np.maximum(largest, view.tap(padded, *tap))
        return largest
