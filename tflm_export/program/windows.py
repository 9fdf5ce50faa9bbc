# SPDX-License-Identifier: Apache-2.0
"""Sliding windows over images [rows, height, width, channels], shared by convolutions and pools."""

import dataclasses
import math

import numpy as np

# Of one image, to be computed here.
_MOST_IN_IMAGE = 1 << 26  # elements with the border
_MOST_TAPS = 1 << 20
_MOST_IN_ROW = 1 << 28  # elements of all windows of a line
_MOST_IN_WINDOWS = 1 << 32


@dataclasses.dataclass(frozen=True)
class Axis:
    """Windows along one axis of an image.

    Attributes:
      size, kernel, stride, dilation: of the input and of the windows.
      output: how many windows.
      before, after: padding; `after` may be larger than the windows need, never smaller.
      spread: distance from one element of the input to the next in the image that the windows slide over; more than 1
        in a transposed convolution, with zeros in between.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    output: int
    before: int
    after: int
    spread: int = 1

    def slice(self, tap: int) -> slice:
        """The elements of the padded axis under a tap, one a window."""
        start = tap * self.dilation
        return slice(start, start + (self.output - 1) * self.stride + 1, self.stride)

    @property
    def padded(self) -> int:
        """Elements with the padding that windows cover, all of those before the first window's end among them."""
        return max(self.before + self.size, (self.output - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)

    @property
    def is_pointwise(self) -> bool:
        """Whether every window is one element, all of them in order."""
        return (self.kernel, self.stride, self.before, self.after, self.spread) == (1, 1, 0, 0, 1)


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


def transposed_axis_of(size: int, kernel: int, stride: int, output: int, same: bool) -> Axis:
    """Windows of the convolution that a transposed one is: over an input with zeros in between, weights reversed.

    Args:
      size: of the input.
      kernel, stride: of the transposed convolution.
      output: its size, as the file says.
      same: its padding.

    The border is never negative: SAME cuts off less than half of the kernel.
    """
    cut = axis_of(output, kernel, stride, 1, same).before
    extent = (size - 1) * stride + 1
    before = kernel - 1 - cut
    after = max(0, output + kernel - 1 - extent - before)
    return Axis(size, kernel, 1, 1, output, before, after, stride)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows over height and width."""

    height: Axis
    width: Axis

    @property
    def taps(self) -> list[tuple[int, int]]:
        """(row, column) of every element of a window, in row-major order."""
        return [(y, x) for y in range(self.height.kernel) for x in range(self.width.kernel)]

    @property
    def is_pointwise(self) -> bool:
        """Whether windows are single pixels, every one of them in order."""
        return self.height.is_pointwise and self.width.is_pointwise

    @property
    def outputs(self) -> int:
        """How many windows there are on an image."""
        return self.height.output * self.width.output

    def check_sizes(self, channels: int) -> None:
        """Raises ValueError where an image of so many channels with its border, or its windows, are absurdly large."""
        axes = (self.height, self.width)
        sides = [axis.before + (axis.size - 1) * axis.spread + 1 + axis.after for axis in axes]
        kernel, row = math.prod(axis.kernel for axis in axes), self.width.output * channels
        if (
            math.prod(sides) * channels > _MOST_IN_IMAGE
            or kernel > _MOST_TAPS
            or kernel * row > _MOST_IN_ROW
            or kernel * row * self.height.output > _MOST_IN_WINDOWS
        ):
            raise ValueError(
                f"{self.height.output} x {self.width.output} windows of {self.height.kernel} x {self.width.kernel} on "
                f"{sides[0]} x {sides[1]} x {channels} elements are too many"
            )

    def pad(self, image: np.ndarray, value: int) -> np.ndarray:
        """The image with its border, and with what lies between its elements."""
        axes = (self.height, self.width)
        if any(axis.spread > 1 for axis in axes):
            sides = [(axis.size - 1) * axis.spread + 1 for axis in axes]
            spread = np.full((len(image), *sides, image.shape[3]), value, image.dtype)
            spread[:, :: axes[0].spread, :: axes[1].spread] = image
            image = spread
        border = [(axis.before, axis.after) for axis in axes]
        return np.pad(image, ((0, 0), *border, (0, 0)), constant_values=value) if np.any(border) else image

    def tap(self, padded: np.ndarray, y: int, x: int) -> np.ndarray:
        """The element (y, x) of every window: a view [rows, output height, output width, channels]."""
        return padded[:, self.height.slice(y), self.width.slice(x)]

    def gather(self, padded: np.ndarray, lines: slice = slice(None)) -> np.ndarray:
        """All windows, or those of some lines: [rows, output height, output width, taps * channels]."""
        rows, _, _, channels = padded.shape
        if self.is_pointwise:
            return padded[:, lines]
        height = len(range(self.height.output)[lines])
        columns = np.empty((rows, height, self.width.output, len(self.taps), channels), padded.dtype)
        for i, (y, x) in enumerate(self.taps):
            columns[:, :, :, i] = self.tap(padded, y, x)[:, lines]
        return columns.reshape(*columns.shape[:3], -1)


def points(rows: int) -> Windows:
    """The windows of a dense layer over so many rows: an image of one column."""
    return Windows(Axis(rows, 1, 1, 1, rows, 0, 0), Axis(1, 1, 1, 1, 1, 0, 0))


def dense_rows(shape: tuple[int, ...], depth: int) -> int:
    """How many rows of `depth` elements a shape has.

    Raises:
      ValueError: they are not whole.
    """
    rows, rest = divmod(math.prod(shape), max(depth, 1))
    if rest:
        raise ValueError(f"inputs of shape {list(shape)} are no rows of {depth}")
    return rows
