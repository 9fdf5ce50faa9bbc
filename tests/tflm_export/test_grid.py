# SPDX-License-Identifier: Apache-2.0
"""The grid of k-bit multipliers against exact fractions: what is on it, what is nearest above and below."""

import dataclasses
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tflm_export import UsageError
from tflm_export.grid import POWERS_OF_TWO, STOCK, Grid, grid_of

TOLERANCE = Fraction(1, 2**21)  # relative: what counts as on the grid
SMALLEST, LARGEST = Fraction(5e-324), Fraction(sys.float_info.max)

widths = st.integers(1, 31)
factors = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_subnormal=True)
roundings = st.sampled_from(["nearest", "up", "down"])


def neighbours(factor: float, bits: int) -> dict[str, Fraction]:
    """The grid points next to a factor, by rounding; from integers alone."""
    exact = Fraction(factor)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent -= exact < Fraction(2) ** exponent  # 2**exponent <= factor < 2**(exponent + 1)
    step = Fraction(2) ** (exponent - bits + 1)
    steps = exact / step
    return {
        "nearest": math.floor(steps + Fraction(1, 2)) * step,
        "up": math.ceil(steps) * step,
        "down": math.floor(steps) * step,
    }


def on_grid(factor: float, bits: int) -> bool:
    nearest = neighbours(factor, bits)["nearest"]
    distance = abs(nearest - Fraction(factor))
    limit = TOLERANCE * Fraction(factor)
    # float64 can tell unless the two are next to one another.
    assume(abs(distance - limit) > max(SMALLEST, limit / 2**30))
    return distance <= limit and nearest <= LARGEST


@st.composite
def noisy_points(draw, widest: int) -> tuple[int, int, int, float]:
    """A grid point (k, m, s), often at an end of its octave, and a factor that float32 scales could have made of it."""
    bits = draw(st.integers(1, widest))
    low, high = 2 ** (bits - 1), 2**bits - 1
    multiplier = draw(st.one_of(st.sampled_from([low, high]), st.integers(low, high)))
    shift = draw(st.integers(bits - 20, bits + 28))
    noise = draw(st.floats(-4 * 2.0**-24, 4 * 2.0**-24))
    return bits, multiplier, shift, math.ldexp(multiplier, -shift) * (1 + noise)


@given(factors, widths, roundings)
@example(sys.float_info.max, 31, "down")
@example(sys.float_info.min, 31, "nearest")
@example(sys.float_info.max, 4, "down")  # the nearest is out of range, what is asked for is not
@example(5e-324, 1, "up")
@example(5e-324, 31, "down")
@example(math.nextafter(sys.float_info.min, 0), 8, "down")
@example(1.99, 1, "nearest")  # carries
@example(1.99, 4, "up")  # carries
@example(255.4, 8, "nearest")
@example(math.nextafter(1.0, 2), 1, "up")  # on the grid already
@example(1.5, 1, "nearest")  # a half
def test_snap_is_the_exact_rounding(factor, bits, rounding):
    wanted = neighbours(factor, bits)["nearest" if on_grid(factor, bits) else rounding]
    assume(wanted <= LARGEST)
    snapped = float(Grid(bits).snap(factor, rounding))
    assert snapped == float(wanted)
    if wanted >= Fraction(sys.float_info.min):
        assert Fraction(snapped) == wanted


@given(factors, widths)
@example(2.0**-7 * (1 + 2.0**-22), 1)
@example(2.0**-7 * (1 - 2.0**-22), 8)
@example(2.0**-7 * (1 + 2.0**-20), 8)
@example(sys.float_info.max, 1)
def test_contains_what_is_within_the_tolerance(factor, bits):
    assert bool(Grid(bits).contains(factor)) == on_grid(factor, bits)


@given(noisy_points(widest=20))
@example((4, 8, 10, 8 * 2.0**-10 * (1 - 2.0**-22)))
@example((4, 15, 10, 15 * 2.0**-10 * (1 + 2.0**-22)))
@example((1, 1, -3, 8 * (1 - 2.0**-22)))
def test_recover_gives_back_what_was_meant(point):
    bits, multiplier, shift, factor = point
    assume(factor >= 2.0**-31)  # the runtimes flush less to 0
    found = Grid(bits).recover(factor)
    assert (int(found.multiplier), int(found.shift)) == (multiplier, shift)
    assert Grid(bits).contains(factor)


@given(noisy_points(widest=16), widths)
def test_recover_held_keeps_the_value_of_any_grid_that_is_narrow(point, of_model):
    _, multiplier, shift, factor = point
    assume(factor >= 2.0**-31)
    assert float(Grid(of_model).recover_held(factor).value) == math.ldexp(multiplier, -shift)


@given(st.floats(2.0**-30, 2.0**10), st.integers(1, 16))
def test_recover_held_does_not_round_what_was_not_narrowed(factor, of_model):
    assume(not Grid(16).contains(factor))
    found = Grid(of_model).recover_held(factor)
    assert abs(Fraction(float(found.value)) / Fraction(factor) - 1) <= Fraction(1, 2**31)
    assert int(Grid(of_model).recover_held(factor, widest=15).multiplier) < 2**15


def test_arrays_keep_their_shape():
    array = np.array([[0.0, 0.3, 1.0], [5e-324, 1.7, 2.0**40]])
    np.testing.assert_array_equal(POWERS_OF_TWO.snap(array, "up"), [[0, 0.5, 1], [5e-324, 2, 2.0**40]])
    np.testing.assert_array_equal(POWERS_OF_TWO.snap(array, "down"), [[0, 0.25, 1], [5e-324, 1, 2.0**40]])
    np.testing.assert_array_equal(POWERS_OF_TWO.contains(array), [[True, False, True], [True, False, True]])


@pytest.mark.parametrize("bits", [0, 32, True, 1.5, "4", None])
def test_widths_out_of_range(bits):
    for make in (Grid, grid_of):
        with pytest.raises(UsageError, match="bits must be an integer from 1 to 31"):
            make(bits)


def test_a_grid_is_a_value():
    assert grid_of(4) == grid_of(np.int64(4)) == Grid(4) != Grid(3)
    assert len({Grid(4), Grid(4), STOCK, Grid(31)}) == 2
    assert grid_of(STOCK) is STOCK
    assert (str(Grid(1)), str(Grid(2))) == ("1 bit", "2 bits")
    with pytest.raises(dataclasses.FrozenInstanceError):
        STOCK.bits = 4
