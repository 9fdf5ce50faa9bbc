"""Sliding windows over images [rows, height, width, channels], shared by convolutions and pools."""

import dataclasses

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.flatbuffer.model import Operator
from tflm_export.flatbuffer.options import PADDING_SAME
from tflm_export.flatbuffer.reader import INT8


@dataclasses.dataclass(frozen=True)
class Axis:
    """Windows along one axis of an image.

    Attributes:
      size, kernel, stride, dilation: of the input and of the windows.
      output: how many windows.
      before, after: padding; `after` may be larger than the windows need, never smaller.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    output: int
    before: int
    after: int

    def slice(self, tap: int) -> slice:
        """The elements of the padded axis under a tap, one a window."""
        start = tap * self.dilation
        return slice(start, start + (self.output - 1) * self.stride + 1, self.stride)


def axis_of(size: int, kernel: int, stride: int, dilation: int, same: bool) -> Axis:
    """Windows along an axis.

    SAME puts the larger half of an odd total behind.

    Source: ComputePaddingHeightWidth in tensorflow/lite/kernels/padding.h.
    """
    reach = (kernel - 1) * dilation + 1
    output = -(-size // stride) if same else -(-(size - reach + 1) // stride)
    before = max((output - 1) * stride + reach - size, 0) // 2
    after = max((output - 1) * stride + reach - size - before, 0)
    return Axis(size, kernel, stride, dilation, output, before, after)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows over height and width."""

    height: Axis
    width: Axis

    @property
    def taps(self) -> list[tuple[int, int]]:
        """(row, column) of every element of a window, in row-major order."""
        return [(y, x) for y in range(self.height.kernel) for x in range(self.width.kernel)]

    def pad(self, image: np.ndarray, value: int) -> np.ndarray:
        """The image with its border."""
        border = ((self.height.before, self.height.after), (self.width.before, self.width.after))
        if not np.any(border):
            return image
        return np.pad(image, ((0, 0), *border, (0, 0)), constant_values=value)

    def tap(self, padded: np.ndarray, y: int, x: int) -> np.ndarray:
        """The element (y, x) of every window: a view [rows, output height, output width, channels]."""
        return padded[:, self.height.slice(y), self.width.slice(x)]

    def gather(self, padded: np.ndarray) -> np.ndarray:
        """All windows: [rows, output height, output width, taps * channels]."""
        rows, _, _, channels = padded.shape
        columns = np.empty((rows, self.height.output, self.width.output, len(self.taps), channels), padded.dtype)
        for i, (y, x) in enumerate(self.taps):
            columns[:, :, :, i] = self.tap(padded, y, x)
        return columns.reshape(*columns.shape[:3], -1)


def windows(operator: Operator, fields, image_shape: tuple, kernel: tuple[int, int], dilated: bool = True) -> Windows:
    """The windows of an operator.

    Args:
      operator: its options are read.
      fields: the enumeration of its option table, with PADDING, STRIDE_H, ...
      image_shape: [rows, height, width, channels].
      kernel: height and width.
      dilated: whether the table has dilation factors.

    Raises:
      ModelError: strides or dilations under 1, or a window larger than the image.
    """
    strides = [operator.option(field) for field in (fields.STRIDE_H, fields.STRIDE_W)]
    dilations = [operator.option(f, default=1) for f in (fields.DILATION_H, fields.DILATION_W)] if dilated else [1, 1]
    same = operator.option(fields.PADDING, INT8) == PADDING_SAME
    if len(image_shape) != 4 or min(*strides, *dilations, *kernel) < 1:
        raise ModelError(
            f"the file is damaged: {operator.label} has strides {strides}, dilations {dilations}, a kernel of "
            f"{list(kernel)} and an input of shape {list(image_shape)}"
        )
    axes = [axis_of(image_shape[1 + i], kernel[i], strides[i], dilations[i], same) for i in (0, 1)]
    if min(axis.output for axis in axes) < 1:
        raise ModelError(f"the file is damaged: {operator.label} has windows larger than its input")
    return Windows(*axes)


def row_blocks(rows: int, bytes_per_row: int, budget: int = 1 << 26):
    """Slices of rows of at most `budget` bytes, one row at least."""
    step = max(1, budget // max(1, bytes_per_row))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
