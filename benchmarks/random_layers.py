# SPDX-License-Identifier: Apache-2.0
"""Layers of random sizes as forms, to measure kernels with."""

import dataclasses
import math

import numpy as np

from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis, Windows, axis_of, points
from tflm_export.rescale import MAX_BITS, Rescale, StockRescale

INT8 = np.dtype(np.int8)
ENDS = ("shift", "multiply", "wide", "stock")
KINDS = ("pointwise", "convolution", "first", "dilated", "narrow", "dense", "depthwise", "any depthwise", "multiplied")
_MOST_PRODUCTS = 400_000
_WIDE_BITS, _NARROW_BITS = 16, 5


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of a layer.

    Attributes:
      inputs, channels: of the image and of the output.
      height, width: windows along both axes.
      groups: of input channels.
    """

    inputs: int
    channels: int
    height: Axis
    width: Axis
    groups: int = 1

    @property
    def products(self) -> int:
        return self.height.output * self.width.output * self.channels * self.taps

    @property
    def taps(self) -> int:
        """Weights of a channel."""
        return self.height.kernel * self.width.kernel * self.inputs // self.groups


class Layers:
    """A source of random layers.

    Args:
      seed: of all of them.
    """

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self._count = 0

    def layer(self, kind: str, end: str) -> WeightedSum:
        """A layer of one of KINDS whose rescale is one of ENDS, with a constant scale of its outputs.

        Weights are normal, as those of trained networks are; outputs saturate in a few of a hundred elements.
        """
        while (shape := self._shape(kind)).products > _MOST_PRODUCTS:
            pass
        random, self._count = self._random, self._count + 1
        rows = np.clip(random.normal(0, random.uniform(12, 45), (shape.channels, shape.taps)).round(), -127, 127)
        spread = 74 * math.sqrt((rows**2).sum(1).mean())  # of sums: inputs are uniform
        bias = random.normal(0, spread / 2, shape.channels).round().astype(np.int64)
        zero_points = random.integers(-32, 33, 2).tolist()
        x = Value(("x", self._count), INT8, (1, shape.height.size, shape.width.size, shape.inputs), "x")
        y = Value(("y", self._count), INT8, (1, shape.height.output, shape.width.output, shape.channels), "y")
        windows = Windows(shape.height, shape.width)
        if kind == "dense":
            x, y = (dataclasses.replace(v, shape=(v.shape[1], v.shape[3])) for v in (x, y))
        weights = rows.reshape(
            shape.groups, shape.channels // shape.groups, shape.height.kernel, shape.width.kernel, -1
        ).astype(np.int8)
        return WeightedSum(
            inputs=(x,), outputs=(y,), weights=weights, bias=bias, input_zero_point=zero_points[0], windows=windows,
            rescale=self._rescale(end, shape.channels, 42 / spread), zero_point=zero_points[1], clamp=(-128, 127),
        )  # fmt: skip

    def inputs(self, forms: list[WeightedSum]) -> list[np.ndarray]:
        """Random inputs of one inference, [1, *shape] each without the dimension of inferences."""
        return [self._random.integers(-128, 128, form.inputs[0].shape).astype(np.int8) for form in forms]

    def _rescale(self, end: str, channels: int, factor: float) -> Rescale:
        """Factors about `factor`, one for each channel."""
        bits = {"shift": 1, "multiply": _NARROW_BITS, "wide": _WIDE_BITS, "stock": MAX_BITS}[end]
        least = 1 << bits - 1
        multipliers = self._random.integers(least, 2 * least, channels)
        shifts = bits - 1 + np.round(-math.log2(factor) + self._random.normal(0, 0.3, channels)).astype(np.int64)
        return (StockRescale if end == "stock" else Rescale)(multipliers, shifts)

    def _one(self, *choices):
        return choices[self._random.integers(len(choices))]

    def _upto(self, most: int, least: int = 1) -> int:
        """A size, as likely to be small as large."""
        return round(math.exp(self._random.uniform(math.log(least), math.log(most + 0.49))))

    def _shape(self, kind: str) -> Shape:
        height, width = self._upto(32, 4), self._upto(32, 4)
        inputs, channels = 4 * self._upto(32), 4 * self._upto(32)
        if kind == "pointwise":
            return Shape(inputs, channels, axis_of(height, 1, 1, 1, True), axis_of(width, 1, 1, 1, True))
        if kind == "dense":
            image = points(self._one(1, 1, 1, 2, 5))
            return Shape(self._upto(700, 8), 4 * self._upto(64), image.height, image.width)
        stride, same, dilation = self._one(1, 1, 2), bool(self._one(0, 1)), 1
        kernel = [self._one(1, 2, 3, 3, 3, 4, 5) for _ in range(2)]
        groups = 1
        if kind == "first":
            inputs, kernel = self._one(1, 2, 3, 3), [self._one(3, 3, 5, 7)] * 2
        elif kind == "dilated":
            dilation = 2
        elif kind == "narrow":
            width = self._upto(3)
        elif kind in ("depthwise", "any depthwise", "multiplied"):
            channels = groups = inputs
            if kind == "depthwise":
                kernel = [3, 3]
            else:
                dilation = self._one(1, 1, 2)
            channels *= self._one(2, 3, 4) if kind == "multiplied" else 1
        sizes = [max(size, (k - 1) * dilation + 1) for size, k in zip((height, width), kernel, strict=True)]
        axes = [axis_of(size, k, stride, dilation, same) for size, k in zip(sizes, kernel, strict=True)]
        return Shape(inputs, channels, *axes, groups)
