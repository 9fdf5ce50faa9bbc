/* SPDX-License-Identifier: Apache-2.0 */
/* Reciprocals, logarithms and roots of the stock runtimes, bit for bit: what fixed_point.py has of them in 32 bits.
 *
 * Q(n) is a value in [-2^n, 2^n) with 31 - n fraction bits. */
#ifndef NARROW_FIXED_POINT_H
#define NARROW_FIXED_POINT_H

#include "narrow_rescale.h"

/* x * 2^amount, saturated to 32 bits. x * 2^amount is within 64 bits; amount: 0..31. */
static NARROW_INLINE int32_t narrow_saturating_shift(int64_t x, int32_t amount) {
  const int64_t y = x * ((int64_t)1 << amount);
  return y > INT32_MAX ? INT32_MAX : y < INT32_MIN ? INT32_MIN : (int32_t)y;
}

/* Leading zeros of x, 1..2^32 - 1. */
static NARROW_INLINE int32_t narrow_leading_zeros(uint32_t x) {
  int32_t zeros = 0;
  while ((x << zeros) < 0x80000000u) ++zeros;
  return zeros;
}

/* a * b, Q0; -1 * -1 does not occur. (narrow_doubling_high_multiply with a factor of any sign.) */
static NARROW_INLINE int32_t narrow_multiply_q0(int32_t a, int32_t b) {
  return NARROW_MULTIPLIER ? narrow_doubling_high_multiply_64(a, b) : narrow_doubling_high_multiply_32(a, b);
}

/* 1 / (1 + a) for a in [0, 1), Q0 to Q0: three Newton-Raphson steps from 48/17 - 32/17 * d on x = 1/d, d = (1 + a) / 2,
 * with 29 fraction bits of x. (gemmlowp's one_over_one_plus_x_for_x_in_0_1.) */
static NARROW_INLINE int32_t narrow_one_over_one_plus(int32_t a) {
  const int32_t d = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
  int32_t x = 1515870810 + narrow_multiply_q0(d, -1010580540);
  for (int32_t i = 0; i < 3; ++i) {
    const int32_t error = (1 << 29) - narrow_multiply_q0(d, x);
    x += narrow_multiply_q0(x, error) * 4;
  }
  return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

/* The natural logarithm of x >= 1, Q(integer_bits) to Q(output_bits).
 *
 * x: 2^(31 - integer_bits)..2^31 - 1; integer_bits: 1..30; output_bits: 5..28, and ln(2^integer_bits) < 2^output_bits.
 * (TFLite's log_x_for_x_greater_than_or_equal_to_1_impl.) */
static NARROW_INLINE int32_t narrow_log(int32_t x, int32_t integer_bits, int32_t output_bits) {
  const int32_t root_of_half = 1518500250, fourth_root_of_half = 1805811301;
  const int32_t bits = output_bits + 1, quarter = narrow_rounding_divide_by_pot(1 << 29, bits);
  /* Twice x as a mantissa and a power of two, once times the square root of a half; the smaller mantissa counts. */
  const int32_t zeros_a = narrow_leading_zeros((uint32_t)x);
  const int32_t zeros_b = narrow_leading_zeros((uint32_t)narrow_multiply_q0(x, root_of_half)) - 1;
  const int32_t mantissa_a = narrow_saturating_shift(narrow_multiply_q0(x << (zeros_a - 1), root_of_half), 1);
  const int32_t mantissa_b = narrow_saturating_shift(x, zeros_b);
  const int32_t power_a = (integer_bits - zeros_a) * (1 << (31 - bits)) + quarter;
  const int32_t power_b = (integer_bits - zeros_b) * (1 << (31 - bits)) - quarter;
  const int32_t r = mantissa_a < mantissa_b ? mantissa_a : mantissa_b;
  const int32_t power = power_a > power_b ? power_a : power_b;
  const int32_t p = (int32_t)(((uint32_t)r + (uint32_t)fourth_root_of_half + 1) >> 1);
  const int32_t q = 2 * (r - fourth_root_of_half);
  const int32_t square = narrow_multiply_q0(q, q);
  const int32_t cube = narrow_multiply_q0(narrow_multiply_q0(q, square), 117049297);
  const int32_t numerator = narrow_multiply_q0(q, r) + cube;
  const int32_t slope = 1057819769 + q + narrow_multiply_q0(127690142, square);
  const int32_t denominator = narrow_multiply_q0(p, slope) + narrow_multiply_q0(638450708, q);
  const int32_t fraction =
      narrow_multiply_q0(narrow_rounding_divide_by_pot(numerator, bits), narrow_one_over_one_plus(denominator));
  return narrow_saturating_shift(narrow_multiply_q0(power, 1488522236) + fraction, 1);
}

/* 1 / sqrt(x) = multiplier * 2^-(31 + shift); of 0 as of 1.
 *
 * x: 0..2^31 - 1. shift: 0..12. (TFLite's GetInvSqrtQuantizedMultiplierExp.) */
static NARROW_INLINE void narrow_inverse_square_root(int32_t x, int32_t *multiplier, int32_t *shift) {
  if (x <= 1) {
    *multiplier = INT32_MAX;
    *shift = 0;
    return;
  }
  const int32_t is_large = x >= 1 << 29;
  const int32_t value = is_large ? x >> 2 : x;
  const int32_t pairs = (narrow_leading_zeros((uint32_t)value) - 1) / 2 - 1;
  const int32_t half = narrow_rounding_divide_by_pot((value << (2 * pairs)) >> 1, 1); /* Q3, as the root */
  int32_t root = 1 << 28;
  for (int32_t i = 0; i < 5; ++i) {
    const int32_t cube = narrow_saturating_shift(narrow_multiply_q0(narrow_multiply_q0(root, root), root), 6);
    const int32_t step = narrow_multiply_q0(3 << 27, root) - narrow_multiply_q0(half, cube);
    root = narrow_saturating_shift(step, 3);
  }
  const int32_t right = (is_large ? 12 : 11) - pairs;
  *multiplier = narrow_multiply_q0(root, 1518500250) * (1 << (right < 0 ? -right : 0));
  *shift = right < 0 ? 0 : right;
}

#endif
