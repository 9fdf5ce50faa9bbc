# SPDX-License-Identifier: Apache-2.0
"""Output channels as a rescaler computes them, and other numbers for some of them that give the same outputs.

A channel is a function of its accumulator that only grows. Where it has one value over all accumulators there can be,
or a few, other numbers give the same: a (nearly) dead channel, whose shift and bias would be the largest of the model,
then takes no wider hardware than the others.
"""

import dataclasses

import numpy as np

from tflm_export.rescale import Rescale
from tflm_export.rtl.coding import width
from tflm_export.rtl.parameters import Parameters

_MOST_FOLDED_SHIFT = 47  # with zero points of 16 bits, int64 holds what that comes to
_MOST_STEPS = 16  # outputs less one of a channel that gets another zero point


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Channels:
    """The numbers of some channels; int64 [channels] each.

    Attributes:
      offset: what is added to the model's accumulator.
      multiplier, shift: of the rescale.
      zero_point, low, high: added to its outcome, and what that is clamped to.
    """

    offset: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, which) -> "Channels":
        return Channels(**{field.name: getattr(self, field.name)[which] for field in dataclasses.fields(self)})

    @property
    def fold(self) -> np.ndarray:
        """What rounding and zero point add to an accumulator, where multipliers are 1: half + zero point * 2**shift.

        As floor((acc + half) / 2**s) + zero point = floor((acc + half + zero point * 2**s) / 2**s). For shifts from 0
        to 47, others have none.
        """
        shift = np.clip(self.shift, 0, _MOST_FOLDED_SHIFT)
        return np.where(self.shift >= 0, (np.int64(1) << shift >> 1) + (self.zero_point << shift), 0)

    def outputs(self, accumulator: np.ndarray) -> np.ndarray:
        """What the rescaler gives for the model's accumulators, which broadcast against the channels; int64."""
        integers = Rescale(self.multiplier, self.shift).apply(accumulator + self.offset) + self.zero_point
        return np.clip(integers, self.low, self.high)

    def has_ends_of(self, others: "Channels") -> bool:
        """Whether zero points and limits are those of others."""
        return all((getattr(self, name) == getattr(others, name)).all() for name in ("zero_point", "low", "high"))

    def replaced(self, where: np.ndarray, others: "Channels") -> "Channels":
        """With the numbers of others in some places; bool or indices [channels]."""
        fields = {field.name: getattr(self, field.name).copy() for field in dataclasses.fields(self)}
        for name, array in fields.items():
            array[where] = getattr(others, name)
        return Channels(**fields)


def accumulator_bits(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The widths of the smallest signed integers that hold both ends; int64."""
    return width(np.maximum(np.maximum(high, -low - 1), 0)) + 1


@dataclasses.dataclass(frozen=True, eq=False)
class Bounded:
    """Channels with the accumulators that they can get.

    Attributes:
      channels: the channels.
      low, high: int64 [channels]: the ends of the model's accumulators.
    """

    channels: Channels
    low: np.ndarray
    high: np.ndarray

    def __getitem__(self, which) -> "Bounded":
        return Bounded(self.channels[which], self.low[which], self.high[which])

    def bits(self, is_folded: bool) -> np.ndarray:
        """The widths of the accumulators that hardware gets, with or without rounding and zero point; int64."""
        own = self.channels
        offset = own.offset + own.fold if is_folded else own.offset
        return accumulator_bits(self.low + offset, self.high + offset)

    def fits(self, parameters: Parameters) -> np.ndarray:
        """Which channels the hardware computes as they are; bool [channels]."""
        own, is_folded = self.channels, parameters.is_folded
        least = max(parameters.shift_min, 0) if is_folded else parameters.shift_min
        most = min(parameters.shift_max, _MOST_FOLDED_SHIFT) if is_folded else parameters.shift_max
        shifts = (own.shift >= least) & (own.shift <= most)
        return (self.bits(is_folded) <= parameters.accumulator_bits) & shifts & (own.multiplier > 0)

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest output of each channel."""
        return self.channels.outputs(self.low), self.channels.outputs(self.high)


def within(bounded: Bounded, parameters: Parameters) -> tuple[Channels, np.ndarray]:
    """Channels with numbers that the hardware has room for, and which have none.

    Returns:
      The Channels, which give the same output for every accumulator in their bounds; and bool [channels], those that
      had to stay as they are and do not fit.
    """
    channels, unfit = _few_valued(bounded, parameters)
    first, last = bounded.ends()
    constant = np.flatnonzero(~bounded.fits(parameters) & (first == last))
    return channels.replaced(constant, _constant(bounded[constant], parameters)), unfit


def unfit(bounded: Bounded, parameters: Parameters) -> np.ndarray:
    """Which channels have no numbers that the hardware has room for; bool [channels]."""
    return _few_valued(bounded, parameters)[1]


def _few_valued(bounded: Bounded, parameters: Parameters) -> tuple[Channels, np.ndarray]:
    """As `within`, but for channels of one output, which always get some that fit."""
    channels, (first, last) = bounded.channels, bounded.ends()
    misfits = ~bounded.fits(parameters) & (first != last)
    for index in np.flatnonzero(misfits):
        found = _threshold(bounded[[index]], parameters) or _rebased(bounded[[index]], parameters)
        if found is not None:
            channels = channels.replaced(np.array([index]), found)
            misfits[index] = False
    return channels, misfits


def _constant(bounded: Bounded, parameters: Parameters) -> Channels:
    """Channels of one output with numbers that fit: saturating through the bias, or at rest in one step, else clamped.

    The last way takes limits of their own in the table; it is right whatever the accumulator is, and wraps to.
    """
    value, _ = bounded.ends()
    own, count = bounded.channels, len(bounded.channels)
    most = 1 << (parameters.accumulator_bits - 1)
    todo = np.ones(count, bool)
    power = np.full(count, parameters.coding.power, np.int64)
    shifts = [np.full(count, s, np.int64) for s in range(parameters.shift_min, parameters.shift_max + 1)]
    found = dataclasses.replace(own, offset=-bounded.low, multiplier=power, shift=shifts[0], low=value, high=value)
    for multiplier, shift in ((own.multiplier, own.shift), *((power, shift) for shift in shifts)):
        moved = dataclasses.replace(own, multiplier=multiplier, shift=shift)
        ends = -most - bounded.low, most - 1 - bounded.high
        first, last = (end - moved.fold for end in ends) if parameters.is_folded else ends
        centre = _centre(value - own.zero_point, multiplier, shift) - _middle(bounded)
        for offset in (own.offset, first, last, centre):
            tried = dataclasses.replace(moved, offset=offset)
            other = Bounded(tried, bounded.low, bounded.high)
            smallest, largest = other.ends()
            good = todo & other.fits(parameters) & (smallest == value) & (largest == value)
            found = found.replaced(good, tried[good])
            todo &= ~good
    return found


def _middle(bounded: Bounded) -> np.ndarray:
    return (bounded.low + bounded.high) >> 1


def _centre(quotient: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """An accumulator in the middle of those that give a quotient, where it is of moderate size."""
    real = np.ldexp(quotient.astype(np.float64), np.clip(shift, -62, 62)) / np.maximum(multiplier, 1)
    return np.rint(np.clip(real, -(2.0**52), 2.0**52)).astype(np.int64)


def _threshold(bounded: Bounded, parameters: Parameters) -> Channels | None:
    """A channel of two outputs with numbers that fit: the step between them put where another shift has one."""
    own, (first, last) = bounded.channels, map(int, np.concatenate(bounded.ends()))
    step = _first_at(own, first + 1)
    if int(own.outputs(np.array([step]))[0]) != last:
        return None  # there are more than two
    for shift in range(parameters.shift_min, parameters.shift_max + 1):
        tried = dataclasses.replace(
            own,
            offset=np.zeros(1, np.int64),
            multiplier=np.array([parameters.coding.power]),
            shift=np.array([shift]),
        )
        move = _first_at(tried, first + 1) - step
        tried = dataclasses.replace(tried, offset=np.array([move]))
        if not Bounded(tried, bounded.low, bounded.high).fits(parameters)[0]:
            continue
        at = np.array([bounded.low[0], step - 1, step, bounded.high[0]])
        if tried.outputs(at).tolist() == [first, first, last, last]:
            return tried
    return None


def _rebased(bounded: Bounded, parameters: Parameters) -> Channels | None:
    """A channel of a few outputs, far from zero, with another zero point, around which its accumulators are smaller.

    Its outputs start at accumulators that are 2**s / m apart, rounded up. With another zero point they start elsewhere,
    and are as far apart as they were at some of them. (Not where the zero point is part of the
    accumulator, and that the same with any.)
    """
    if parameters.is_folded:
        return None
    own, (first, last) = bounded.channels, map(int, np.concatenate(bounded.ends()))
    if last - first > _MOST_STEPS or not parameters.shift_min <= int(own.shift[0]) <= parameters.shift_max:
        return None
    starts = [_first_at(own, output) for output in range(first + 1, last + 1)]
    most = 1 << (parameters.output_bits - 1)
    for zero_point in range(-most, most):
        tried = dataclasses.replace(own, zero_point=np.array([zero_point]))
        move = _first_at(tried, first + 1) - starts[0]
        if not _holds(bounded, move, parameters):
            continue
        moved = (_first_at(tried, output) - move for output in range(first + 1, last + 1))
        if all(a == b for a, b in zip(moved, starts, strict=True)):
            tried = dataclasses.replace(tried, offset=own.offset + move)
            if np.concatenate(Bounded(tried, bounded.low, bounded.high).ends()).tolist() == [first, last]:
                return tried
    return None


def _holds(bounded: Bounded, offset: int, parameters: Parameters) -> bool:
    """Whether the accumulators of one channel fit with an offset."""
    most = 1 << (parameters.accumulator_bits - 1)
    return -most <= int(bounded.low[0]) + offset and int(bounded.high[0]) + offset < most


def _first_at(channel: Channels, output: int) -> int:
    """The smallest accumulator of the model for which one channel gives an output or a larger one.

    In exact integers: (acc + offset) * m + half >= (output - zero point) * 2**s.
    """
    multiplier, shift, offset = (int(a[0]) for a in (channel.multiplier, channel.shift, channel.offset))
    right, left = max(shift, 0), max(-shift, 0)
    needed = ((output - int(channel.zero_point[0])) << right) - ((1 << right) >> 1)
    return -(-needed // (multiplier << left)) - offset
