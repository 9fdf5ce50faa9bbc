# SPDX-License-Identifier: Apache-2.0
"""Fixed-point exponentials, logarithms and roots of the stock runtimes: integers of 32 or 16 bits, held as int64.

Q(n) below is a value in [-2**n, 2**n) with 31 - n fraction bits (15 - n of 16-bit integers). Every step is an operation
of the original at its width, so results agree with it in the last bit.

Source: gemmlowp's fixedpoint.h, as used by the reference kernels of SOFTMAX, LOGISTIC, TANH and LSTM, and what
is named at the others.
"""

import numpy as np

from tflm_export.rescale import doubling_high_multiply, rounding_divide_by_pot

# 32-bit constants; narrower integers take their upper bits, rounded.
_EXP_MINUS_EIGHTH = 1895147668  # Q0
_ONE_THIRD = 715827883  # Q0
# exp(-2**e) in Q0, by e.
_EXP_MINUS_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
_48_OVER_17 = 1515870810  # Q2
_MINUS_32_OVER_17 = -1010580540  # Q2


def saturating_left_shift(x: np.ndarray, amount: int, bits: int = 32) -> np.ndarray:
    """`x * 2**amount` in `bits` bits, saturated."""
    return np.clip(x << amount, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _constant(value: int, bits: int) -> int:
    return int(rounding_divide_by_pot(value, 32 - bits))


def _exp_between_minus_quarter_and_zero(a: np.ndarray, bits: int) -> np.ndarray:
    """exp(a) for a in [-1/4, 0), Q0 to Q0: a Taylor polynomial of degree 4 around -1/8."""
    middle = _constant(_EXP_MINUS_EIGHTH, bits)
    x = a + (1 << (bits - 4))
    x2 = doubling_high_multiply(x, x, bits)
    x3 = doubling_high_multiply(x2, x, bits)
    x4_over_4 = rounding_divide_by_pot(doubling_high_multiply(x2, x2, bits), 2)
    third = doubling_high_multiply(x4_over_4 + x3, _constant(_ONE_THIRD, bits), bits)
    higher = rounding_divide_by_pot(third + x2, 1)
    return saturating_left_shift(middle + doubling_high_multiply(x + higher, middle, bits), 0, bits)


def exp_on_negative_values(a: np.ndarray, integer_bits: int, bits: int = 32) -> np.ndarray:
    """exp(a) for a <= 0.

    Args:
      a: Q(integer_bits), not positive.
      integer_bits: 0 to 7.
      bits: 32 or 16, of all integers.

    Returns:
      Q0 integers; exp(0) is the largest.
    """
    fraction_bits = bits - 1 - integer_bits
    quarter = np.int64(1) << (fraction_bits - 2)
    in_quarter = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(saturating_left_shift(in_quarter, integer_bits, bits), bits)
    remainder = in_quarter - a
    for exponent, factor in _EXP_MINUS_POWERS.items():
        if exponent < integer_bits:
            bit = np.int64(1) << (fraction_bits + exponent)
            result = np.where(remainder & bit, doubling_high_multiply(result, _constant(factor, bits), bits), result)
    if integer_bits > 5:
        result = np.where(a < -(np.int64(1) << (fraction_bits + 5)), 0, result)
    return np.where(a == 0, (1 << (bits - 1)) - 1, result)


def _reciprocal_of_half_sum(a: np.ndarray, bits: int) -> np.ndarray:
    """2 / (1 + a) for a in [0, 1]: Q0 to Q2, three Newton-Raphson steps."""
    half_denominator = (a + (1 << (bits - 1))) >> 1
    slope = _constant(_MINUS_32_OVER_17, bits)
    x = _constant(_48_OVER_17, bits) + doubling_high_multiply(half_denominator, slope, bits)
    for _ in range(3):
        error = (1 << (bits - 3)) - doubling_high_multiply(half_denominator, x, bits)
        x = x + saturating_left_shift(doubling_high_multiply(x, error, bits), 2, bits)
    return x


def one_over_one_plus(a: np.ndarray, bits: int = 32) -> np.ndarray:
    """1 / (1 + a) for a in [0, 1], Q0 to Q0."""
    return saturating_left_shift(_reciprocal_of_half_sum(a, bits), 1, bits)


def logistic(a: np.ndarray, integer_bits: int, bits: int = 32) -> np.ndarray:
    """1 / (1 + exp(-a)), Q(integer_bits) to Q0."""
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits, bits), bits)
    negative = (1 << (bits - 1)) - 1 - positive
    return np.where(a == 0, 1 << (bits - 2), np.where(a > 0, positive, negative))


def tanh(a: np.ndarray, integer_bits: int, bits: int = 32) -> np.ndarray:
    """tanh(a), Q(integer_bits) to Q0."""
    # exp(-2|a|): the same integers with one more integer bit.
    decayed = exp_on_negative_values(-np.abs(a), integer_bits + 1, bits)
    magnitude = saturating_left_shift(_reciprocal_of_half_sum(decayed, bits) - (1 << (bits - 3)), 2, bits)
    return np.where(a == 0, 0, np.where(a < 0, -magnitude, magnitude))


# Q0 constants of the logarithm.
_LOG_2, _ROOT_OF_HALF, _FOURTH_ROOT_OF_HALF = 1488522236, 1518500250, 1805811301
_ALPHA_N, _ALPHA_D, _ALPHA_I, _ALPHA_F = 117049297, 127690142, 1057819769, 638450708


def _leading_zeros(x: np.ndarray) -> np.ndarray:
    """Of positive 32-bit integers."""
    return 32 - np.frexp(np.asarray(x, np.float64))[1].astype(np.int64)


def log(x: np.ndarray, integer_bits: int, output_bits: int) -> np.ndarray:
    """The natural logarithm of x >= 1, Q(integer_bits) to Q(output_bits).

    Source: log_x_for_x_greater_than_or_equal_to_1_impl in tensorflow/lite/kernels/internal/common.h.
    """
    bits = output_bits + 1  # of the sum, which needs a bit of headroom
    quarter = int(rounding_divide_by_pot(1 << 29, bits))
    # Twice x as a mantissa and a power of two, once times the square root of a half; the smaller mantissa counts.
    headroom = _leading_zeros(x)
    mantissa_a = saturating_left_shift(doubling_high_multiply(x << (headroom - 1), _ROOT_OF_HALF), 1)
    power_a = saturating_left_shift(saturating_left_shift(integer_bits - headroom, 31 - bits) + quarter, 0)
    headroom = _leading_zeros(doubling_high_multiply(x, _ROOT_OF_HALF)) - 1
    mantissa_b = saturating_left_shift(x, headroom)
    power_b = saturating_left_shift(saturating_left_shift(integer_bits - headroom, 31 - bits) - quarter, 0)
    r, power = np.minimum(mantissa_a, mantissa_b), np.maximum(power_a, power_b)
    p = (r + _FOURTH_ROOT_OF_HALF + 1) >> 1
    q = 2 * (r - _FOURTH_ROOT_OF_HALF)
    square = doubling_high_multiply(q, q)
    cube = doubling_high_multiply(doubling_high_multiply(q, square), _ALPHA_N)
    numerator = doubling_high_multiply(q, r) + cube
    slope = _ALPHA_I + q + doubling_high_multiply(_ALPHA_D, square)
    denominator = doubling_high_multiply(p, slope) + doubling_high_multiply(_ALPHA_F, q)
    fraction = doubling_high_multiply(rounding_divide_by_pot(numerator, bits), one_over_one_plus(denominator))
    return saturating_left_shift(doubling_high_multiply(power, _LOG_2) + fraction, 1)


def inverse_square_root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 / sqrt(x) as a 31-bit multiplier and a right shift; of 0 as of 1.

    Args:
      x: int64 integers from 0 to 2**31 - 1.

    Source: GetInvSqrtQuantizedMultiplierExp in tensorflow/lite/kernels/internal/common.h.
    """
    value = np.maximum(np.asarray(x, np.int64), 2)
    large = value >= 1 << 29
    value, shift = np.where(large, value >> 2, value), np.where(large, 12, 11)
    pairs = (_leading_zeros(value) - 1) // 2 - 1
    half = rounding_divide_by_pot((value << (2 * pairs)) >> 1, 1)  # Q3
    root = np.full_like(value, 1 << 28)  # Q3
    for _ in range(5):
        cube = doubling_high_multiply(doubling_high_multiply(root, root), root)
        cube = saturating_left_shift(cube, 6)
        step = doubling_high_multiply(3 << 27, root) - doubling_high_multiply(half, cube)
        root = saturating_left_shift(step, 3)
    multiplier, shift = doubling_high_multiply(root, _ROOT_OF_HALF), shift - pairs
    multiplier, shift = multiplier << np.maximum(-shift, 0), np.maximum(shift, 0)
    one = np.asarray(x) <= 1
    return np.where(one, (1 << 31) - 1, multiplier), np.where(one, 0, shift)
