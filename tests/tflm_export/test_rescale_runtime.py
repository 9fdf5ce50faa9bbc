# SPDX-License-Identifier: Apache-2.0
"""The stock runtimes' rescale arithmetic against definitions written with Python's integers and fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export import fixed_point, rescale

INT32 = st.integers(-(2**31), 2**31 - 1)
FACTORS = st.floats(1e-9, 500.0)


def truncated(numerator: int, denominator: int) -> int:
    """Division as in C."""
    return abs(numerator) // denominator * (1 if numerator >= 0 else -1)


def high_multiply(a: int, b: int, bits: int) -> int:
    """gemmlowp's definition: a nudge by sign, then a division that truncates; one product saturates."""
    if a == b == -(1 << (bits - 1)):
        return (1 << (bits - 1)) - 1
    nudge = 1 << (bits - 2)
    return truncated(a * b + (nudge if a * b >= 0 else 1 - nudge), 1 << (bits - 1))


def half_away(value: Fraction) -> int:
    magnitude = int(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def wrapped(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


@given(INT32, INT32)
def test_doubling_high_multiply_is_gemmlowps(a, b):
    assert rescale.doubling_high_multiply(np.int64(a), np.int64(b)) == high_multiply(a, b, 32)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-(2**15), 2**15 - 1))
def test_doubling_high_multiply_of_16_bits(a, b):
    assert rescale.doubling_high_multiply(np.int64(a), np.int64(b), 16) == high_multiply(a, b, 16)


def test_doubling_high_multiply_saturates():
    assert rescale.doubling_high_multiply(np.int64(-(2**31)), np.int64(-(2**31))) == 2**31 - 1


@given(INT32, st.integers(0, 31))
def test_rounding_divide_rounds_halves_away_from_zero(x, exponent):
    assert rescale.rounding_divide_by_pot(x, exponent) == half_away(Fraction(x, 2**exponent))


@pytest.mark.parametrize(("x", "expected"), [(5, 3), (-5, -3), (6, 3), (-6, -3), (1, 1), (-1, -1), (0, 0)])
def test_rounding_divide_by_two(x, expected):
    assert rescale.rounding_divide_by_pot(x, 1) == expected


@given(INT32, FACTORS)
def test_double_rounding_is_left_shift_high_multiply_right_shift(accumulator, factor):
    stock = rescale.quantize_multiplier(factor)
    shift = 31 - int(stock.shift)
    product = high_multiply(wrapped(accumulator << max(shift, 0)), int(stock.multiplier), 32)
    expected = half_away(Fraction(product, 2 ** max(-shift, 0)))
    assert rescale.multiply_by_quantized_multiplier_double(accumulator, stock) == expected


@given(st.integers(-(2**47) + 1, 2**47 - 1), st.floats(1e-9, 60.0))
def test_wide_rescale_cuts_the_multiplier_and_rounds_once(accumulator, factor):
    stock = rescale.quantize_multiplier(factor)
    shift = 31 - int(stock.shift)
    reduced = min((int(stock.multiplier) + 2**15) >> 16, 2**15 - 1)
    expected = wrapped((accumulator * reduced + (1 << (14 - shift))) >> (15 - shift))
    assert rescale.multiply_by_quantized_multiplier_wide(accumulator, stock) == expected


@given(INT32, FACTORS)
def test_real_rescale_rounds_the_float64_product_away_from_zero(accumulator, factor):
    assert rescale.multiply_by_real(accumulator, factor) == half_away(Fraction(accumulator * factor))


@pytest.mark.parametrize(("factor", "expected"), [(0.49999999999999994, 0), (0.5, 1), (-0.5, -1), (2.5, 3)])
def test_real_rescale_at_ties(factor, expected):
    assert rescale.multiply_by_real(1, factor) == expected


def test_arrays_broadcast_over_channels():
    accumulators = np.array([[1000, -1000, 7], [2**31 - 1, -(2**31), 0]])
    stock = rescale.quantize_multiplier(np.array([0.25, 0.0003, 40.0]))
    each = [
        [
            int(rescale.multiply_by_quantized_multiplier_double(a, rescale.quantize_multiplier(f)))
            for a, f in zip(row, fs, strict=True)
        ]
        for row, fs in zip(accumulators, [[0.25, 0.0003, 40.0]] * 2, strict=True)
    ]
    assert rescale.multiply_by_quantized_multiplier_double(accumulators, stock).tolist() == each


@pytest.mark.parametrize("integer_bits", [3, 4, 5])
def test_fixed_point_functions_are_near_the_real_ones(integer_bits):
    one = 2.0 ** (31 - integer_bits)
    inputs = np.linspace(-(2.0**integer_bits) * 0.99, 2.0**integer_bits * 0.99, 4001)
    fixed = np.rint(inputs * one).astype(np.int64)
    real = fixed / one
    negative = np.minimum(fixed, 0)
    exponential = fixed_point.exp_on_negative_values(negative, integer_bits) / 2.0**31
    np.testing.assert_allclose(exponential, np.exp(negative / one), atol=1e-6)
    if integer_bits < 5:
        np.testing.assert_allclose(
            fixed_point.logistic(fixed, integer_bits) / 2.0**31, 1 / (1 + np.exp(-real)), atol=1e-6
        )
        np.testing.assert_allclose(fixed_point.tanh(fixed, integer_bits) / 2.0**31, np.tanh(real), atol=1e-6)
    share = np.linspace(0, 2.0**31 - 1, 1001).astype(np.int64)
    np.testing.assert_allclose(fixed_point.one_over_one_plus(share) / 2.0**31, 1 / (1 + share / 2.0**31), atol=1e-6)
