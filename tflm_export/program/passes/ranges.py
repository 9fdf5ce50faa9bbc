# SPDX-License-Identifier: Apache-2.0
"""Which integers each channel of each value can hold, over all inputs there are.

A channel is a place of the last axis, all others taken together. A form whose outputs grow (or fall) with every input
alike gives its extremes at the extremes of its inputs, so that it is asked for no more than those: but for the sums of
weights, the forms compute all integers themselves.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Hashable

import numpy as np

from tflm_export.errors import ModelError
from tflm_export.program.aligned_sum import AlignedSum, RescaledSum
from tflm_export.program.elementwise import Elementwise
from tflm_export.program.form import Form, running
from tflm_export.program.lookup import Lookup, every_integer
from tflm_export.program.move import Move
from tflm_export.program.pool import Pool
from tflm_export.program.product import Product
from tflm_export.program.program import Block
from tflm_export.program.reduction import Extreme, Mean, Total
from tflm_export.program.requantize import Prelu, Requantize
from tflm_export.program.resize import Resize
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis, Windows
from tflm_export.rescale import (
    MAX_BITS,
    WIDE_BITS,
    Rescale,
    Rescaler,
    StockRescale,
    WideNarrowRescale,
    WideStockRescale,
)

_INT32 = 1 << 31
_WIDE = 1 << 47


@dataclasses.dataclass(frozen=True, eq=False)
class Range:
    """The smallest and the largest integer of each channel.

    Attributes:
      low, high: int64 [channels].
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """Which channels are one integer only; bool [channels]."""
        return self.low == self.high

    def __len__(self) -> int:
        return len(self.low)

    def ends(self, value: Value) -> np.ndarray:
        """Two inferences of a value that holds nothing but the smallest and nothing but the largest integers."""
        ends = np.stack([self.low, self.high]).astype(value.dtype)
        return np.broadcast_to(ends.reshape(2, *(1,) * (max(len(value.shape), 1) - 1), -1), (2, *(value.shape or (1,))))


def channels_of(value: Value) -> int:
    """How many channels a value has."""
    return value.shape[-1] if value.shape else 1


class Ranges:
    """The ranges of the values of a block, found once.

    Args:
      block: of a program; what it does not compute may be any integer of its type.
    """

    def __init__(self, block: Block):
        self._found: dict[Hashable, Range] = {}
        for step in block.steps:
            form = step.form
            values = (*form.inputs, *form.outputs)
            if all(v.dtype.kind in "iu" and v.size and not v.is_variable for v in values):
                with contextlib.suppress(ModelError), running(step.origin.label):  # whoever cannot run is not constant
                    found = _ranges(form, *map(self.of, form.inputs))
                    if found is not None:
                        self._found[form.output.key] = _within(found, form.output)

    def of(self, value: Value) -> Range:
        """The range of an integer value."""
        if value.is_constant:
            return _over_positions(value.data, value)
        return self._found.get(value.key) or _any(value)

    def constant(self, value: Value) -> np.ndarray:
        """Which channels of a value are one integer at all places, in all inferences; bool [channels]."""
        if value.is_variable or not value.size or value.dtype.kind not in "iu":
            return np.zeros(channels_of(value), bool)
        return self.of(value).is_constant


def padded_taps(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Which taps stand on a border or between elements in some window, and which on the image; bool [height, width]."""
    (down, inside_down), (across, inside_across) = _padded(windows.height), _padded(windows.width)
    return down[:, None] | across, inside_down[:, None] & inside_across


def _padded(axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Which taps of an axis are outside in some window, and which inside in some; bool [kernel]."""
    at = np.arange(axis.output)[:, None] * axis.stride + np.arange(axis.kernel) * axis.dilation - axis.before
    inside = (at >= 0) & (at < (axis.size - 1) * axis.spread + 1) & (at % axis.spread == 0)
    return ~inside.all(0), inside.any(0)


def _any(value: Value) -> Range:
    low, high = (np.full(channels_of(value), limit, np.int64) for limit in value.limits)
    return Range(low, high)


def _within(found: Range, value: Value) -> Range:
    return Range(*(np.broadcast_to(end, channels_of(value)).astype(np.int64) for end in (found.low, found.high)))


def _over_positions(array: np.ndarray, value: Value) -> Range:
    """The range of an array of a value's elements, with any dimensions in front."""
    rows = array.reshape(-1, channels_of(value))
    return Range(rows.min(0).astype(np.int64), rows.max(0).astype(np.int64))


@functools.singledispatch
def _ranges(form: Form, *inputs: Range) -> Range | None:
    """The range of a form's output, None where any integer of its type may be in it."""
    return None


@_ranges.register
def _(form: WeightedSum, x: Range) -> Range | None:
    if form.output.size != form.image_shape[0] * form.windows.outputs * form.channels:
        return None
    if channels_of(form.output) != form.channels or form.input_channels % len(x):
        return None
    low, high, is_sure = _sure_sums(form, x)
    low, high = (np.clip(form.rescale.apply(end) + form.zero_point, *form.clamp) for end in (low, high))
    return Range(np.where(is_sure, low, min(form.clamp)), np.where(is_sure, high, max(form.clamp)))


def settled_sums(form: WeightedSum, x: Range) -> tuple[np.ndarray, np.ndarray]:
    """Which channels give one output whatever their input holds, and a sum for each that gives it.

    Args:
      form: a sum.
      x: what its input can hold.

    Returns:
      bool [channels] and int64 [channels].
    """
    low, high, is_sure = _sure_sums(form, x)
    given, other = (np.clip(form.rescale.apply(end) + form.zero_point, *form.clamp) for end in (low, high))
    return is_sure & (given == other), low


def _sure_sums(form: WeightedSum, x: Range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest and the largest sums, int64, and of which channels they surely give the extremes of the output."""
    low, high = sum_ranges(form, x)
    farthest = np.maximum(np.abs(low), np.abs(high))
    is_sure = keeps_order(form.rescale, farthest) & (farthest < 2.0**53)
    if not form.is_wide:
        is_sure = is_sure & (low >= -_INT32) & (high < _INT32)
    low, high = (np.where(is_sure, end, 0).astype(np.int64) for end in (low, high))
    return low, high, is_sure


def sum_ranges(form: WeightedSum, x: Range) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest sum with its bias over what the input can hold.

    Returns:
      Two arrays [channels], float64 that is exact below 2**53.
    """
    groups, channels, *_, depth = form.weights.shape
    low, high = (np.tile(end, form.input_channels // len(x)) - form.input_zero_point for end in (x.low, x.high))
    outside, inside = (mask.reshape(-1, 1, 1) for mask in padded_taps(form.windows))
    least = np.where(inside, np.where(outside, np.minimum(low, 0), low), 0)
    most = np.where(inside, np.where(outside, np.maximum(high, 0), high), 0)
    # [taps, 1, inputs] as [groups, taps * inputs of a group, 1]; twice the middle and twice half the width
    middle, width = (
        part.reshape(-1, groups, depth).transpose(1, 0, 2).reshape(groups, -1, 1).astype(np.float64)
        for part in (least + most, most - least)
    )
    weights = form.weights.reshape(groups, channels, -1).astype(np.float64)
    centre = (weights @ middle).reshape(-1)
    np.abs(weights, out=weights)
    reach = (weights @ width).reshape(-1)
    bias = form.bias.astype(np.float64)
    return (centre - reach) / 2 + bias, (centre + reach) / 2 + bias


def keeps_order(rescale: Rescaler, bound: np.ndarray) -> np.ndarray:
    """Whether a larger accumulator never gives a smaller output, as nothing on the way leaves its type.

    Args:
      rescale: for all or for each channel.
      bound: float64 [channels], the largest |accumulator|.

    Returns:
      bool [channels].
    """
    with np.errstate(over="ignore"):
        return np.broadcast_to(_fits(rescale, bound), np.shape(bound))


def _fits(rescale: Rescaler, bound: np.ndarray):
    if type(rescale) is Rescale:
        return (bound <= _INT32) & (np.ldexp(bound * rescale.multiplier, np.maximum(-rescale.shift, 0)) < 2.0**62)
    if type(rescale) is StockRescale:
        return np.ldexp(bound, np.maximum(MAX_BITS - rescale.shift, 0)) < _INT32
    if type(rescale) is WideNarrowRescale:
        return (bound < _WIDE) & np.all((rescale.multiplier < 1 << WIDE_BITS) & (rescale.shift >= 0))
    if type(rescale) is WideStockRescale:
        return (bound < _WIDE) & (bound * rescale.value < _INT32 / 2)
    return False


@_ranges.register(Lookup)
@_ranges.register(Requantize)
@_ranges.register(Prelu)
def _(form: Lookup | Requantize | Prelu, x: Range, *others: Range) -> Range | None:
    """The extremes of a table's part."""
    value, *constants = form.inputs
    if value.dtype.itemsize > 2 or any(not v.is_constant or v.size != 1 for v in constants):
        return None
    domain = every_integer(value.dtype).astype(value.dtype).reshape(-1, *(1,) * len(value.shape))
    (table,) = form.evaluate(domain, *(v.data[None] for v in constants))
    if table.size != len(domain):
        return None
    table = table.reshape(-1)
    pairs, which = np.unique(np.stack([x.low, x.high]) - value.limits[0], axis=1, return_inverse=True)
    parts = [table[a : b + 1] for a, b in pairs.T.tolist()]
    ends = np.array([(part.min(), part.max()) for part in parts], np.int64)[which.reshape(-1)]
    return Range(ends[:, 0], ends[:, 1])


@_ranges.register(AlignedSum)
@_ranges.register(RescaledSum)
@_ranges.register(Product)
@_ranges.register(Elementwise)
def _(form: AlignedSum | RescaledSum | Product | Elementwise, a: Range, b: Range) -> Range | None:
    """At one of the corners, for with one input fixed the output grows or falls with the other."""
    if isinstance(form, Elementwise) and form.function not in ("maximum", "minimum"):
        return None  # the others wrap
    if isinstance(form, RescaledSum):
        rescales = zip(form.to_common, form.inputs, form.zero_points, strict=True)
        bounds = [float(_farthest(v, zero) << form.left_shift) for _, v, zero in rescales]
        steps = zip((*form.to_common, form.to_output), (*bounds, sum(bounds)), strict=True)
        if not all(keeps_order(rescale, np.array([bound])).all() for rescale, bound in steps):
            return None
    if isinstance(form, Product):
        bound = math.prod(_farthest(v, zero) for v, zero in zip(form.inputs, form.zero_points, strict=True))
        if not keeps_order(form.rescale, np.array([float(bound)])).all():
            return None
    corners = ((a.low, a.low, a.high, a.high), (b.low, b.high, b.low, b.high))
    first, second = (np.stack(c).astype(v.dtype) for c, v in zip(corners, form.inputs, strict=True))
    return _extremes(form, form.evaluate(first, second)[0])


def _farthest(value: Value, zero_point: int) -> int:
    low, high = value.limits
    return max(abs(low - zero_point), abs(high - zero_point))


@_ranges.register
def _(form: Pool, x: Range) -> Range | None:
    """Means and maxima lie between the extremes of a window, which holds a part of the image."""
    if not all(_touches(axis) for axis in (form.windows.height, form.windows.width)):
        return None
    return Range(np.clip(x.low, *form.clamp), np.clip(x.high, *form.clamp))


def _touches(axis: Axis) -> bool:
    """Whether every window holds elements of the image."""
    reach = (axis.kernel - 1) * axis.dilation
    last = (axis.output - 1) * axis.stride - axis.before
    return axis.dilation == 1 and axis.before <= reach and last < axis.size


@_ranges.register
def _(form: Resize, x: Range) -> Range:
    """Means of neighbours, rounded to nearest (in float32 by far less than half a step off), lie between them."""
    return x


@_ranges.register(Move)
@_ranges.register(Extreme)
@_ranges.register(Mean)
def _(form: Move | Extreme | Mean, *inputs: Range) -> Range:
    """Each output is one of the inputs, or a mean that grows with all of them."""
    ends = [x.ends(value).reshape(2, *value.shape) for x, value in zip(inputs, form.inputs, strict=True)]
    return _extremes(form, form.evaluate(*ends)[0])


@_ranges.register
def _(form: Total, x: Range) -> Range | None:
    bound = float(_farthest(form.inputs[0], form.input_zero_point)) * form.count
    if bound >= _INT32 or not keeps_order(form.rescale, np.array([bound])).all():
        return None
    (value,) = form.inputs
    return _extremes(form, form.evaluate(x.ends(value).reshape(2, *value.shape))[0])


def _extremes(form: Form, outputs: np.ndarray) -> Range:
    return _over_positions(outputs, form.output)
