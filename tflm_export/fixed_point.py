"""Fixed-point exponentials of the stock runtimes: 32-bit integers with a given number of integer bits, as int64.

Q(n) below is a value in [-2**n, 2**n) with 31 - n fraction bits. Every step is a 32-bit operation of the original, so
results agree with it in the last bit.

Source: gemmlowp's fixedpoint.h, as used by the reference kernels of SOFTMAX, LOGISTIC and TANH.
"""

import numpy as np

from tflm_export.rescale import doubling_high_multiply, rounding_divide_by_pot

_MAX, _MIN = (1 << 31) - 1, -(1 << 31)
_EXP_MINUS_EIGHTH = 1895147668  # Q0
_ONE_THIRD = 715827883  # Q0
# exp(-2**e) in Q0, by e.
_EXP_MINUS_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
_48_OVER_17 = 1515870810  # Q2
_MINUS_32_OVER_17 = -1010580540  # Q2
_ONE_Q2 = 1 << 29


def saturating_left_shift(x: np.ndarray, bits: int) -> np.ndarray:
    """`x * 2**bits` in 32 bits, saturated."""
    return np.clip(x << bits, _MIN, _MAX)


def _exp_between_minus_quarter_and_zero(a: np.ndarray) -> np.ndarray:
    """exp(a) for a in [-1/4, 0), Q0 to Q0: a Taylor polynomial of degree 4 around -1/8."""
    x = a + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4_over_4 = rounding_divide_by_pot(doubling_high_multiply(x2, x2), 2)
    higher = rounding_divide_by_pot(doubling_high_multiply(x4_over_4 + x3, _ONE_THIRD) + x2, 1)
    return _EXP_MINUS_EIGHTH + doubling_high_multiply(x + higher, _EXP_MINUS_EIGHTH)


def exp_on_negative_values(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """exp(a) for a <= 0.

    Args:
      a: Q(integer_bits), not positive.
      integer_bits: 0 to 5.

    Returns:
      Q0 integers; exp(0) is the largest.
    """
    fraction_bits = 31 - integer_bits
    quarter = np.int64(1) << (fraction_bits - 2)
    in_quarter = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(saturating_left_shift(in_quarter, integer_bits))
    remainder = in_quarter - a
    for exponent, factor in _EXP_MINUS_POWERS.items():
        if exponent < integer_bits:
            bit = np.int64(1) << (fraction_bits + exponent)
            result = np.where(remainder & bit, doubling_high_multiply(result, factor), result)
    return np.where(a == 0, _MAX, result)


def _reciprocal_of_half_sum(a: np.ndarray) -> np.ndarray:
    """2 / (1 + a) for a in [0, 1]: Q0 to Q2, three Newton-Raphson steps."""
    half_denominator = (a + _MAX + 1) >> 1
    x = _48_OVER_17 + doubling_high_multiply(half_denominator, _MINUS_32_OVER_17)
    for _ in range(3):
        error = _ONE_Q2 - doubling_high_multiply(half_denominator, x)
        x = x + saturating_left_shift(doubling_high_multiply(x, error), 2)
    return x


def one_over_one_plus(a: np.ndarray) -> np.ndarray:
    """1 / (1 + a) for a in [0, 1], Q0 to Q0."""
    return saturating_left_shift(_reciprocal_of_half_sum(a), 1)


def logistic(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """1 / (1 + exp(-a)), Q(integer_bits) to Q0."""
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, _MAX - positive))


def tanh(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """tanh(a), Q(integer_bits) to Q0."""
    # exp(-2|a|): the same integers with one more integer bit.
    decayed = exp_on_negative_values(-np.abs(a), integer_bits + 1)
    magnitude = saturating_left_shift(_reciprocal_of_half_sum(decayed) - _ONE_Q2, 2)
    return np.where(a == 0, 0, np.where(a < 0, -magnitude, magnitude))
