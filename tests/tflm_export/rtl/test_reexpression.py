# SPDX-License-Identifier: Apache-2.0
"""Other numbers for a channel give the same output for every accumulator that it can get."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export.rescale import Rescale
from tflm_export.rtl.channels import Bounded, Channels, accumulator_bits, within
from tflm_export.rtl.coding import Coding
from tflm_export.rtl.parameters import Parameters

MOST = 1 << 12  # accumulators that are all tried


def channel(multiplier, shift, zero_point=0, low=-128, high=127) -> Channels:
    numbers = {
        "offset": 0,
        "multiplier": multiplier,
        "shift": shift,
        "zero_point": zero_point,
        "low": low,
        "high": high,
    }
    return Channels(**{name: np.array([value], np.int64) for name, value in numbers.items()})


def bounded(own: Channels, low: int, high: int) -> Bounded:
    return Bounded(own, np.array([low]), np.array([high]))


def tried(low: int, high: int, extra=()) -> np.ndarray:
    """All accumulators between two ends, or if there are too many the ends, some between, and those around others."""
    if high - low < MOST:
        return np.arange(low, high + 1)
    near = np.add.outer([low, high, *extra], np.arange(-64, 65)).reshape(-1)
    every = np.concatenate([near, np.linspace(low, high, MOST).astype(np.int64)])
    return every[(low <= every) & (every <= high)]


def on_hardware(own: Channels, parameters: Parameters, accumulator: np.ndarray) -> np.ndarray:
    """Outputs with accumulators that wrap, and fields that hold what they have bits for; else an error."""
    most = 1 << (parameters.accumulator_bits - 1)
    offset = own.offset
    if parameters.is_folded:
        offset = offset + (own.zero_point << own.shift) + (1 << own.shift >> 1)
    wrapped = (accumulator + offset + most) % (2 * most) - most
    assert (own.multiplier >> (parameters.coding.bits - 1) == 1).all()
    assert ((own.shift >= parameters.shift_min) & (own.shift <= parameters.shift_max)).all()
    assert (np.abs(own.zero_point) <= 1 << (parameters.output_bits - 1)).all()
    if parameters.is_folded:
        return np.clip(wrapped >> own.shift, own.low, own.high)
    clamped = Rescale(own.multiplier, own.shift).apply(wrapped) + own.zero_point
    return np.clip(clamped, own.low, own.high)


def expected(own: Channels, accumulator: np.ndarray) -> np.ndarray:
    integers = Rescale(own.multiplier, own.shift).apply(accumulator) + own.zero_point
    return np.clip(integers, own.low, own.high)


@st.composite
def cases(draw) -> tuple[Bounded, Parameters]:
    """A channel of hardware that is too narrow for it, often: with any bias, and shifts up to far too large ones."""
    bits = draw(st.integers(1, 8))
    multiplier = draw(st.sampled_from([0, *range(1 << (bits - 1), 1 << bits)]))
    shift = draw(st.integers(0, 40))
    low, high = draw(st.sampled_from([(-128, 127), (-128, 127), (-128, 20), (-7, 90)]))
    own = channel(multiplier, shift, draw(st.integers(-128, 127)), low, high)
    step = (1 << shift) // max(1, multiplier)
    at = (draw(st.integers(low - 2, high + 2)) - int(own.zero_point[0])) * step + draw(st.integers(0, step))
    low, high = (at + sign * draw(st.integers(0, 2 * step + 8)) for sign in (-1, 1))
    low, high = (min(max(end, -(1 << 31)), (1 << 31) - 1) for end in (low, high))
    coding, reach = Coding(bits), (draw(st.integers(0, 12)), draw(st.integers(1, 5)))
    return bounded(own, low, high), Parameters(
        draw(st.integers(8, 24)), coding, *reach, 8, is_folded=bits == 1 and draw(st.booleans())
    )


@given(cases())
def test_outputs_stay(case):
    own, parameters = case
    found, unfit = within(own, parameters)
    first, last = own.ends()
    if unfit[0]:
        assert last[0] > first[0]  # a channel of one output always gets numbers
        return
    accumulators = tried(int(own.low[0]), int(own.high[0]), changes(own))
    np.testing.assert_array_equal(on_hardware(found, parameters, accumulators), expected(own.channels, accumulators))


def changes(own: Bounded) -> list[int]:
    """The accumulators at which the output changes, by bisection."""
    low, high = int(own.low[0]), int(own.high[0])
    found = []

    def y(accumulator):
        return int(expected(own.channels, np.array([accumulator]))[0])

    while low < high and y(low) < y(high) and len(found) < 20:
        a, b = low, high
        while a + 1 < b:
            middle = (a + b) // 2
            a, b = (middle, b) if y(middle) == y(low) else (a, middle)
        found.append(b)
        low = b
    return found


HARDWARE = Parameters(24, Coding(4), 9, 4, 8)  # shifts of 9 to 24


@pytest.mark.parametrize(
    ("own", "low", "high", "how"),
    [
        (channel(9, 35, zero_point=-128), 1 << 29, (1 << 29) + 1000, "saturates"),
        (channel(9, 35, zero_point=-128), -(1 << 29), -(1 << 29) + 1000, "saturates"),
        (channel(8, 35, zero_point=7), 1 << 30, (1 << 30) + 1000, "other shift"),
        (channel(0, 0, zero_point=7), -1000, 1000, "other shift"),
        (channel(9, 30, zero_point=-128), 59652324 - 2000, 59652324 + 2000, "two outputs"),
        (channel(11, 24, zero_point=-128), 369928486, 369928486 + 3500000, "zero point"),
    ],
)
def test_each_way(own, low, high, how):
    case = bounded(own, low, high)
    assert not case.fits(HARDWARE)[0]
    found, unfit = within(case, HARDWARE)
    assert not unfit[0]
    assert (found.zero_point[0] != own.zero_point[0]) == (how == "zero point")
    assert (found.shift[0] != own.shift[0]) == (how != "zero point")
    assert (found.low[0], found.high[0]) == (own.low[0], own.high[0])
    accumulators = tried(low, high, changes(case))
    np.testing.assert_array_equal(on_hardware(found, HARDWARE, accumulators), expected(own, accumulators))


def test_one_output_far_from_the_zero_point_is_clamped():
    narrow = dataclasses.replace(HARDWARE, accumulator_bits=10)
    case = bounded(channel(9, 30, zero_point=-50), 1 << 28, (1 << 28) + (1 << 22))
    found, unfit = within(case, narrow)
    value = expected(case.channels, case.low)
    assert not unfit[0]
    assert found.low == found.high == value
    assert (on_hardware(found, narrow, tried(1 << 28, (1 << 28) + (1 << 22))) == value).all()


def test_what_fits_stays():
    own = bounded(channel(9, 14, zero_point=3), -100_000, 100_000)
    found, unfit = within(own, HARDWARE)
    assert not unfit[0]
    assert all(getattr(found, f.name) == getattr(own.channels, f.name) for f in dataclasses.fields(Channels))


def test_many_outputs_do_not_fit():
    assert within(bounded(channel(9, 14, zero_point=3), -(1 << 25), 100_000), HARDWARE)[1][0]
    assert within(bounded(channel(9, 30, zero_point=3), -(1 << 27), 1 << 27), HARDWARE)[1][0]


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-129, 127, 9), (-128, 128, 9), (0, (1 << 47) - 1, 48)],
)
def test_accumulator_bits(low, high, bits):
    assert accumulator_bits(np.array([low]), np.array([high]))[0] == bits
