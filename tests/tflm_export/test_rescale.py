# SPDX-License-Identifier: Apache-2.0
"""Rescale arithmetic against exact fractions and against a transcription of TFLite's own code."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tflm_export import UsageError, rescale
from tflm_export.rescale import Rescale

ROUNDINGS = ("nearest", "up", "down")
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

widths = st.integers(1, 31)
factors = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_subnormal=True)
usual_factors = st.floats(2.0**-40, 2.0**10)


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def value(multiplier, shift) -> Fraction:
    return int(multiplier) * power(-int(shift))


def expected(factor: float, bits: int, rounding: str) -> tuple[int, int]:
    """The only (m, s) with 2**(k-1) <= m < 2**k that a rounding allows, from integer arithmetic alone."""
    numerator, denominator = factor.as_integer_ratio()
    exponent = numerator.bit_length() - denominator.bit_length()
    if Fraction(factor) < power(exponent):
        exponent -= 1  # now 2**exponent <= factor < 2**(exponent + 1)
    shift = bits - 1 - exponent
    scaled = Fraction(factor) * power(shift)
    multiplier = {"nearest": math.floor(scaled + Fraction(1, 2)), "up": math.ceil(scaled), "down": math.floor(scaled)}
    m = multiplier[rounding]
    return (m // 2, shift - 1) if m == 2**bits else (m, shift)


@given(factors, widths, st.sampled_from(ROUNDINGS))
@example(sys.float_info.max, 1, "up")
@example(sys.float_info.max, 31, "nearest")
@example(sys.float_info.min, 31, "nearest")
@example(5e-324, 31, "up")
@example(math.nextafter(sys.float_info.min, 0), 8, "nearest")
@example(math.nextafter(1.0, 0), 1, "up")
@example(math.nextafter(2.0**-7, 0), 31, "nearest")
@example(1.5, 1, "nearest")
def test_decompose_is_the_exact_rounding(factor, bits, rounding):
    result = rescale.decompose(factor, bits, rounding)
    assert (int(result.multiplier), int(result.shift)) == expected(factor, bits, rounding)


@given(factors, widths)
def test_decompose_bounds(factor, bits):
    exact = Fraction(factor)
    up, down, nearest = (rescale.decompose(factor, bits, r) for r in ("up", "down", "nearest"))
    for result in (up, down, nearest):
        assert 2 ** (bits - 1) <= result.multiplier < 2**bits
    low, high = value(down.multiplier, down.shift), value(up.multiplier, up.shift)
    assert low <= exact <= high
    assert high - low <= exact * power(1 - bits)
    assert abs(value(nearest.multiplier, nearest.shift) - exact) == min(exact - low, high - exact)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", range(1, 32))
def test_decompose_takes_arrays_elementwise(bits, rounding):
    random = np.random.default_rng(bits)
    array = np.ldexp(random.uniform(0.5, 1, (3, 40)), random.integers(-1070, 1020, (3, 40)))
    array[0, 0] = 0
    result = rescale.decompose(array, bits, rounding)
    assert result.multiplier.shape == result.shift.shape == array.shape
    assert result.multiplier.dtype == result.shift.dtype == np.int64
    pairs = [(0, 0) if f == 0 else expected(f, bits, rounding) for f in array.ravel().tolist()]
    np.testing.assert_array_equal(np.stack([result.multiplier.ravel(), result.shift.ravel()], 1), pairs)


@pytest.mark.parametrize("bits", range(1, 32))
def test_all_ones_carry(bits):
    """A mantissa of ones one bit too long rounds up to the next power of two."""
    factor = (2.0 ** (bits + 1) - 1) * 2.0**-50
    for rounding in ("nearest", "up"):
        result = rescale.decompose(factor, bits, rounding)
        assert (result.multiplier, result.shift) == (2 ** (bits - 1), 48)
        assert value(result.multiplier, result.shift) == power(bits + 1 - 50)
    result = rescale.decompose(factor, bits, "down")
    assert (result.multiplier, result.shift) == (2**bits - 1, 49)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_zero(rounding):
    for result in (rescale.decompose(0.0, 5, rounding), rescale.snap(0.0, 5, rounding), rescale.recover(0.0, 5)):
        assert (result.multiplier, result.shift, result.value) == (0, 0, 0)


@given(factors, widths)
def test_value_is_exact_where_float64_holds_it(factor, bits):
    result = rescale.decompose(factor, bits, "down")  # never above the factor, so never infinite
    exact = value(result.multiplier, result.shift)
    assume(exact >= power(-1022 + 31))
    assert Fraction(float(result.value)) == exact


@given(usual_factors, st.integers(1, 19), st.sampled_from(ROUNDINGS), st.integers(-3, 3))
def test_snap_stays_on_the_grid(factor, bits, rounding, ulps):
    """A grid value that float32 moved by a few units stays, whichever way the rounding goes."""
    m, s = expected(factor, bits, "nearest")
    moved = float(value(m, s)) * (1 + ulps * 2.0**-24)
    result = rescale.snap(moved, bits, rounding)
    assert value(result.multiplier, result.shift) == value(m, s)


@given(usual_factors, st.integers(1, 16), st.sampled_from(ROUNDINGS))
def test_snap_rounds_what_is_off_the_grid(factor, bits, rounding):
    m, s = expected(factor, bits, "nearest")
    assume(abs(value(m, s) / Fraction(factor) - 1) > power(-20))
    result = rescale.snap(factor, bits, rounding)
    assert (int(result.multiplier), int(result.shift)) == expected(factor, bits, rounding)


@given(usual_factors, widths)
def test_is_narrow_is_a_distance_to_the_grid(factor, bits):
    m, s = expected(factor, bits, "nearest")
    distance = abs(value(m, s) / Fraction(factor) - 1)
    assume(abs(distance / Fraction(rescale.FLOAT32_TOLERANCE) - 1) > power(-20))
    assert bool(rescale.is_narrow(factor, bits)) == (distance < rescale.FLOAT32_TOLERANCE)


@given(st.integers(1, 2**16 - 1), st.integers(-30, 60), st.integers(-3, 3))
def test_significant_bits_counts_the_odd_part(multiplier, shift, ulps):
    odd = multiplier >> ((multiplier & -multiplier).bit_length() - 1)
    moved = multiplier * 2.0**-shift * (1 + ulps * 2.0**-24)
    assert rescale.significant_bits(moved) == odd.bit_length()


def test_significant_bits_of_arrays():
    array = np.array([[0.0, 1.0, 0.75], [5.0, 2.0**-20 * 255, 1 + 2.0**-18]])
    np.testing.assert_array_equal(rescale.significant_bits(array), [[0, 1, 2], [3, 8, 31]])


def quantize_multiplier(factor: float) -> tuple[int, int]:
    """QuantizeMultiplier of quantization_util.cc: mantissa and left shift."""
    if factor == 0:
        return 0, 0
    q, shift = math.frexp(factor)
    scaled = Fraction(q) * 2**31
    q_fixed = math.floor(abs(scaled) + Fraction(1, 2))  # TfLiteRound: halves away from zero
    if q_fixed == 2**31:
        q_fixed //= 2
        shift += 1
    if shift < -31:
        q_fixed, shift = 0, 0
    return q_fixed, shift


@given(factors)
@example(2.0**-32)
@example(2.0**-33)
@example(math.nextafter(2.0**-32, 0))
@example(2.0**-32 * (1 - 2.0**-32))
@example(2.0**-32 * (1 - 2.0**-31))
@example(1 - 2.0**-32)
@example((2**31 + 1) * 2.0**-32)
@example((2**32 - 1) * 2.0**-40)
@example(1.0)
def test_quantize_multiplier_is_tflites(factor):
    result = rescale.quantize_multiplier(factor)
    mantissa, left = quantize_multiplier(factor)
    assert int(result.multiplier) == mantissa
    assert int(result.shift) == (31 - left if mantissa else 0)


def scales_on_the_grid(bits, rows, float32_product, seed):
    """Random (m, s) and float32 scales (Sx, Sw', Sy) that were chosen so that Sx * Sw' / Sy is m * 2**-s."""
    random = np.random.default_rng(seed)
    m = random.integers(2 ** (bits - 1), 2**bits, rows)
    s = random.integers(bits - 2, bits + 14, rows)
    x, y = np.exp(random.uniform(np.log(1e-5), np.log(2), (2, rows))).astype(np.float32)
    exact = np.ldexp(m.astype(np.float64), -s)
    w = (exact * y.astype(np.float64) / x.astype(np.float64)).astype(np.float32)
    return m, s, rescale.effective_scale(x, w, y, float32_product)


@pytest.mark.parametrize("float32_product", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_recover_gives_back_what_was_meant(bits, float32_product):
    m, s, factor = scales_on_the_grid(bits, 50_000, float32_product, seed=bits)
    result = rescale.recover(factor, bits)
    np.testing.assert_array_equal(result.multiplier, m)
    np.testing.assert_array_equal(result.shift, s)
    assert rescale.is_narrow(factor, bits).all()
    assert (rescale.significant_bits(factor) <= bits).all()


@pytest.mark.parametrize("float32_product", [False, True])
def test_effective_scale_multiplies_in_the_stated_precision(float32_product):
    x, w, y = np.float32(0.1), np.array([0.3, 0.7], np.float32), np.float32(0.9)
    result = rescale.effective_scale(x, w, y, float32_product)
    for one, scale in zip(result, w, strict=True):
        product = Fraction(float(x)) * Fraction(float(scale))
        if float32_product:
            product = Fraction(float(np.float32(float(product))))
        assert abs(Fraction(float(one)) / (product / Fraction(float(y))) - 1) < power(-51)


@given(usual_factors, widths)
@example(1 - 2.0**-31, 1)
@example(2.0**-32, 8)
def test_recover_rounds_the_stock_mantissa(factor, bits):
    mantissa, left = quantize_multiplier(factor)
    result = rescale.recover(factor, bits)
    if mantissa == 0:
        assert (result.multiplier, result.shift) == (0, 0)
        return
    m = math.floor(mantissa * power(bits - 31) + Fraction(1, 2))
    assert value(result.multiplier, result.shift) == m * power(left - bits)
    assert 2 ** (bits - 1) <= result.multiplier < 2**bits


def rounded(accumulator: int, multiplier: int, shift: int) -> int:
    return math.floor(accumulator * multiplier * power(-shift) + Fraction(1, 2))


accumulators = st.one_of(
    st.integers(INT32_MIN, INT32_MAX), st.sampled_from([INT32_MIN, INT32_MAX, -1, 0, 1]), st.integers(-300, 300)
)


@given(accumulators, widths, st.data())
def test_apply_is_one_rounding_half_up(accumulator, bits, data):
    multiplier = data.draw(st.integers(2 ** (bits - 1), 2**bits - 1))
    shift = data.draw(st.one_of(st.integers(0, 70), st.sampled_from([0, 1, 31, 32, 61, 62, 63, 64, 100, 1000])))
    result = Rescale(np.int64(multiplier), np.int64(shift)).apply(accumulator)
    assert int(result) == rounded(accumulator, multiplier, shift)


@pytest.mark.parametrize("shift", [0, 1, 30, 31, 32, 60, 61, 62, 63, 64, 100])
@pytest.mark.parametrize("bits", [1, 2, 8, 31])
def test_apply_at_the_ends(bits, shift):
    ends = np.array([INT32_MIN, INT32_MIN + 1, -3, -2, -1, 0, 1, 2, 3, INT32_MAX, 2**31])
    for multiplier in (2 ** (bits - 1), 2**bits - 1):
        result = Rescale(np.array(multiplier), np.array(shift)).apply(ends)
        assert result.dtype == np.int64
        assert result.tolist() == [rounded(a, multiplier, shift) for a in ends.tolist()]


@given(st.integers(-(2**20), 2**20), st.integers(1, 2**10 - 1), st.integers(1, 30))
def test_apply_shifts_left_exactly(accumulator, multiplier, left):
    result = Rescale(np.array(multiplier), np.array(-left)).apply(accumulator)
    assert int(result) == accumulator * multiplier * 2**left


def test_apply_broadcasts_channels_over_the_last_axis():
    random = np.random.default_rng(0)
    accumulator = random.integers(INT32_MIN, INT32_MAX, (4, 3, 5))
    multiplier, shift = random.integers(1, 2**31, 5), random.integers(-1, 70, 5)
    result = Rescale(multiplier, shift).apply(accumulator)
    for index, a in np.ndenumerate(accumulator):
        assert result[index] == rounded(int(a), int(multiplier[index[-1]]), int(shift[index[-1]]))


def test_apply_of_zero_multiplier():
    np.testing.assert_array_equal(Rescale(np.array(0), np.array(0)).apply([INT32_MIN, 0, INT32_MAX]), 0)


@pytest.mark.parametrize("bits", [0, 32, -1, True, 1.5, "8", None, np.float64(4)])
@pytest.mark.parametrize("function", [rescale.check_bits, lambda b: rescale.decompose(1.0, b)])
def test_widths_out_of_range_are_refused(function, bits):
    with pytest.raises(UsageError, match="bits must be an integer from 1 to 31"):
        function(bits)


@pytest.mark.parametrize("bits", [1, 31, np.int64(8), np.uint8(4)])
def test_widths_in_range(bits):
    checked = rescale.check_bits(bits)
    assert type(checked) is int
    assert checked == bits


@pytest.mark.parametrize("rounding", ["", "NEAREST", "floor", None])
def test_unknown_roundings_are_refused(rounding):
    with pytest.raises(UsageError, match="nearest, up, down"):
        rescale.decompose(0.5, 4, rounding)


@pytest.mark.parametrize("bad", [-1.0, -5e-324, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda f: rescale.decompose(f, 8),
        lambda f: rescale.snap(f, 8, "up"),
        lambda f: rescale.is_narrow(f, 8),
        lambda f: rescale.recover(f, 8),
        rescale.significant_bits,
        rescale.quantize_multiplier,
    ],
)
def test_bad_factors_are_refused_by_value(function, bad):
    with pytest.raises(ValueError, match=f"finite and not negative, got .*{bad}".replace("+", r"\+")):
        function(np.array([0.5, bad]))
