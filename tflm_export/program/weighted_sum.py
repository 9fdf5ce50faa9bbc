# SPDX-License-Identifier: Apache-2.0
"""Sums of products with constant weights: convolutions of every kind, and dense layers."""

import dataclasses

import numpy as np

from tflm_export.program.form import Form, Rescaling, exact_product, row_blocks, sum_bounds, wrapped
from tflm_export.program.windows import Windows
from tflm_export.rescale import Rescaler


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WeightedSum(Form):
    """`y = Zy + rescale(sum(w * (x - Zx)) + bias)` over windows of an image, clamped.

    A group of output channels sees a group of input channels: all of them in a convolution or a dense layer, one in a
    depthwise convolution. A dense layer's image has one column and a row for each vector.

    Attributes:
      weights: centred, int8 or int16 [groups, channels of a group, kernel height, kernel width, inputs of a group].
      bias: int64 [channels].
      input_zero_point: Zx.
      windows: over the image.
      rescale: of the sums, for all or for each channel.
      zero_point: Zy.
      clamp: smallest and largest output.
      is_wide: whether sums have 64 bits; else they have 32, which wrap.

    """

    weights: np.ndarray
    bias: np.ndarray
    input_zero_point: int
    windows: Windows
    rescale: Rescaler
    zero_point: int
    clamp: tuple[int, int]
    is_wide: bool = False

    @property
    def channels(self) -> int:
        """How many output channels there are."""
        return self.weights.shape[0] * self.weights.shape[1]

    @property
    def input_channels(self) -> int:
        """How many input channels there are."""
        return self.weights.shape[0] * self.weights.shape[4]

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel sees one input channel, of several."""
        return self.weights.shape[4] == 1 and self.weights.shape[0] > 1

    @property
    def rows(self) -> np.ndarray:
        """The weights as [channels, elements]."""
        return self.weights.reshape(self.channels, -1)

    @property
    def start(self) -> np.ndarray:
        """What sums of raw inputs start with: bias - Zx * sum(w), int64 [channels]."""
        return self.bias - self.input_zero_point * self.rows.sum(1, dtype=np.int64)

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """The input as [images, height, width, channels]."""
        sides = (self.windows.height.size, self.windows.width.size, self.input_channels)
        return self.inputs[0].size // max(1, int(np.prod(sides))), *sides

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest sum with its bias over all inputs of the type; float64 [channels]."""
        low, high = self.inputs[0].limits
        return sum_bounds(self.rows, self.bias, (low - self.input_zero_point, high - self.input_zero_point))

    @property
    def rescalings(self):
        low, high = self.bounds()
        return (Rescaling(self.rescale, np.maximum(np.abs(low), np.abs(high))),)

    @property
    def multiplications(self):
        return self.image_shape[0] * self.windows.outputs * self.weights.size

    def require_moderate(self):
        self.windows.check_sizes(self.input_channels)

    def evaluate(self, x):
        images = x.reshape(-1, *self.image_shape[1:])
        per_row = self.windows.outputs * (4 * self.rows.shape[1] * self.weights.shape[0] + 24 * self.channels)
        outputs = [self._ended(self._accumulated(images[block])) for block in row_blocks(len(images), per_row)]
        return (np.concatenate(outputs or [np.zeros(0, self.output.dtype)]).reshape(len(x), *self.output.shape),)

    def accumulators(self, x):
        return (self._accumulated(x.reshape(-1, *self.image_shape[1:])),)

    def sums(self, images: np.ndarray) -> np.ndarray:
        """Sums with their bias of raw inputs [images, *image_shape[1:]]; int64 [images, height, width, channels]."""
        return self._depthwise(images) if self.is_depthwise else self._grouped(images)

    def _accumulated(self, images: np.ndarray) -> np.ndarray:
        sums = self.sums(images)
        return sums if self.is_wide else wrapped(sums)

    def _ended(self, accumulators: np.ndarray) -> np.ndarray:
        """Outputs [images, height, width, channels]."""
        return self.saturated(self.rescale.apply(accumulators) + self.zero_point, self.clamp)

    def _grouped(self, images: np.ndarray) -> np.ndarray:
        """Raw inputs are multiplied; their zero point is part of the start value."""
        groups = np.split(self.windows.pad(images, self.input_zero_point), len(self.weights), axis=3)
        parts = [self._product(group, rows) for group, rows in zip(groups, self.weights, strict=True)]
        return (np.concatenate(parts, axis=3) if len(parts) > 1 else parts[0]) + self.start

    def _product(self, padded: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Of some lines at a time, for all windows side by side take much more memory than the image."""
        image, matrix, windows = np.ascontiguousarray(padded), weights.reshape(len(weights), -1).T, self.windows
        per_line = len(image) * windows.width.output * (12 * len(matrix) + 8 * len(weights))
        lines = row_blocks(windows.height.output, per_line)
        return np.concatenate([exact_product(windows.gather(image, some), matrix) for some in lines], axis=1)

    def _depthwise(self, images: np.ndarray) -> np.ndarray:
        windows = self.windows
        exact = np.int64 if self.is_wide or self.rows.shape[1] >= 1 << 15 else np.int32
        image = windows.pad(np.subtract(images, self.input_zero_point, dtype=exact), 0)
        if self.weights.shape[1] > 1:
            image = np.repeat(image, self.weights.shape[1], axis=3)
        taps = np.moveaxis(self.weights[..., 0], (2, 3), (0, 1)).reshape(*self.weights.shape[2:4], -1).astype(exact)
        sums = np.zeros((len(image), windows.height.output, windows.width.output, self.channels), exact)
        for tap in windows.taps:
            sums += windows.tap(image, *tap) * taps[tap]
        return sums.astype(np.int64) + self.bias

    def mean_patch(self, x: np.ndarray) -> np.ndarray:
        """The mean of the raw inputs under each tap, over all windows; float64 [taps, input channels]."""
        images, windows = x.reshape(-1, *self.image_shape[1:]), self.windows
        total = windows.pad(images.sum(0, dtype=np.int64, keepdims=True), self.input_zero_point * len(images))
        sums = np.stack([windows.tap(total, *tap).sum((0, 1, 2)) for tap in windows.taps])
        return sums / (len(images) * windows.outputs)

    def patches(self, x: np.ndarray) -> np.ndarray:
        """The raw inputs under each window, [windows, taps, input channels]."""
        gathered = self.windows.gather(self.windows.pad(x.reshape(-1, *self.image_shape[1:]), self.input_zero_point))
        return gathered.reshape(-1, len(self.windows.taps), self.input_channels)
