# SPDX-License-Identifier: Apache-2.0
"""keras_rat.grid against tflm_export.rescale, over all of float32 that the two are to share."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_rat import grid
from tflm_export import rescale

ROUNDINGS = ("nearest", "up")
WIDTHS = st.integers(1, rescale.MAX_BITS)
BELOW_OVERFLOW = float(np.nextafter(np.float32(2.0**127), np.float32(0)))


def snapped(values, bits, rounding):
    return grid.snap(tf.constant(values, tf.float32), bits, rounding).numpy().astype(np.float64)


def exporters(values, bits, rounding):
    """The grid point in exact integers."""
    split = rescale.decompose if rounding == "nearest" else rescale.snap
    return split(np.float32(values).astype(np.float64), bits, rounding).value


def extremes(bits):
    """Powers of two, grid points and the middles between them, and mantissas that carry, each with its neighbours."""
    exponents = np.arange(-100, 127)
    points = np.ldexp(np.arange(1, 64) / 32, -3)
    carries = 2 - 2.0 ** -np.arange(0, 24)
    middles = 1 + (np.arange(min(2**bits, 64)) + 0.5) * 2.0 ** (1 - bits)
    found = np.concatenate([2.0**exponents, points, carries, middles, [grid.SMALLEST, 2.0**127]]).astype(np.float32)
    found = np.concatenate([found, np.nextafter(found, np.float32(0)), np.nextafter(found, np.float32(np.inf))])
    return np.append(found[(found >= grid.SMALLEST) & (found <= BELOW_OVERFLOW)], np.float32(0))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", range(1, rescale.MAX_BITS + 1))
def test_extremes_are_the_exporters(bits, rounding):
    values = extremes(bits)
    np.testing.assert_array_equal(snapped(values, bits, rounding), exporters(values, bits, rounding))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@settings(deadline=None, max_examples=300)
@given(value=st.floats(grid.SMALLEST, BELOW_OVERFLOW, width=32), bits=WIDTHS)
@example(value=BELOW_OVERFLOW, bits=1)
def test_any_float_is_the_exporters(rounding, value, bits):
    assert snapped(value, bits, rounding) == exporters(value, bits, rounding)


@settings(deadline=None)
@given(value=st.floats(grid.SMALLEST, BELOW_OVERFLOW, width=32), bits=WIDTHS)
def test_bounds(value, bits):
    up, nearest = (snapped(value, bits, rounding) for rounding in ("up", "nearest"))
    assert up >= value * (1 - 2.0**-21)
    assert up <= value * (1 + 2.0 ** (1 - bits))
    assert abs(nearest - value) <= value * 2.0**-bits
    for point in (up, nearest):
        mantissa, _ = np.frexp(point)
        assert mantissa * 2**bits == round(float(mantissa * 2**bits))


def test_each_value_has_its_own_width():
    values, bits = np.float32([1.3] * 5), [1, 2, 5, 24, 31]
    expected = [exporters(v, k, "up") for v, k in zip(values, bits, strict=True)]
    np.testing.assert_array_equal(snapped(values, tf.constant(bits), "up"), expected)


@pytest.mark.parametrize(
    ("value", "bits", "rounding"),
    [
        (2.0**-130 * 1.2, 1, "nearest"),  # a subnormal: the distance between its neighbours is the grid's
        (2.0**127 * 1.75, 1, "nearest"),  # 2**128 is no float32
    ],
)
def test_where_float32_ends_the_two_differ(value, bits, rounding):
    """What the module's docstring says of the limits is not said in vain."""
    assert snapped(value, bits, rounding) != exporters(value, bits, rounding)


def test_there_is_no_gradient():
    value = tf.Variable([0.3, 1.7])
    with tf.GradientTape() as tape:
        points = grid.snap(value, 2, "nearest")
    assert tape.gradient(points, value) is None


def test_other_roundings_are_refused():
    with pytest.raises(ValueError, match="rounding must be nearest or up, got 'down'"):
        grid.snap(tf.constant([1.0]), 2, "down")
