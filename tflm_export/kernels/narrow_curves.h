/* SPDX-License-Identifier: Apache-2.0 */
/* Logistic function and tanh of every int16, in units of 2^-15, as the runtimes compute them. */
#ifndef NARROW_CURVES_H
#define NARROW_CURVES_H

#include "narrow_types.h"

/*   NARROW_CURVE_TABLE             table[x + 32768]
 *   NARROW_CURVE_LOGISTIC, _TANH   interpolated in table[256] = logistic(i / 24) * 2^16 - 2^15, of
 *                                  (x * multiplier + half) >> shift, all of it within 32 bits, in units of 1 / (3 * 4096)
 *   NARROW_CURVE_LOGISTIC_16, _TANH_16   in 16-bit fixed point, of x with `shift` integer bits, 0..6 */
typedef enum {
  NARROW_CURVE_TABLE,
  NARROW_CURVE_LOGISTIC,
  NARROW_CURVE_TANH,
  NARROW_CURVE_LOGISTIC_16,
  NARROW_CURVE_TANH_16
} narrow_curve_kind;

typedef struct {
  narrow_curve_kind kind;
  int32_t multiplier, shift;
  const int16_t *table;
} narrow_curve;

/* logistic(x) * 2^16 - 2^15, times 2^bits, for an x of 0 or more with `bits` bits between neighbours of the table; `end`
 * beyond it. Compilers choose whether to inline what an LSTM needs five times. */
static inline int32_t narrow_interpolated(const int16_t *table, int32_t x, int32_t bits, int32_t end) {
  const int32_t i = x >> bits;
  if (i >= 255) return end;
  const int32_t low = table[i], high = table[i + 1];
  return low * (1 << bits) + (x & ((1 << bits) - 1)) * (high - low);
}

/* TFLM's Sigmoid of reference/integer_ops/logistic.h; with r = 2^25 (logistic - 1/2), so that 2^24 is a half. */
static inline int32_t narrow_logistic_interpolated(const int16_t *table, int32_t x) {
  const int32_t half = 1 << 24, r = narrow_interpolated(table, x < 0 ? -x : x, 9, (0x7fff << 10) - half);
  return x < 0 ? (half - r + (1 << 9) - 1) >> 10 : (half + r + (1 << 9)) >> 10;
}

/* TFLM's Tanh of reference/integer_ops/tanh.h: 2 logistic(2 x) - 1. */
static inline int32_t narrow_tanh_interpolated(const int16_t *table, int32_t x) {
  const int32_t r = narrow_interpolated(table, x < 0 ? -x : x, 8, (0xffff << 8) - (1 << 23));
  return x < 0 ? (-r + (1 << 7) - 1) >> 8 : (r + (1 << 7)) >> 8;
}

/* gemmlowp's fixedpoint.h with 16 bits, held in 32. */

/* 2 * a * b / 2^16, rounded, halves up, saturated. */
static inline int32_t narrow_high_16(int32_t a, int32_t b) {
  const int32_t y = (a * b + (1 << 14)) >> 15;
  return y > 32767 ? 32767 : y;
}

static inline int32_t narrow_saturate_16(int32_t x) { return x < -32768 ? -32768 : x > 32767 ? 32767 : x; }

/* exp(x) in units of 2^-15 for an x of 0 or less with 0..7 integer bits. */
static inline int32_t narrow_exp_16(int32_t x, int32_t integer_bits) {
  static const int16_t powers[7] = {25520, 19875, 12055, 4435, 600, 11, 0}; /* exp(-2^(i - 2)) */
  const int32_t exp_minus_eighth = 28918, third = 10923, fraction_bits = 15 - integer_bits;
  const int32_t quarter = 1 << (fraction_bits - 2), in_quarter = (x & (quarter - 1)) - quarter;
  if (x == 0) return 32767;
  if (integer_bits > 5 && x < -(1 << (fraction_bits + 5))) return 0;
  /* A Taylor polynomial of degree 4 around -1/8. */
  const int32_t a = narrow_saturate_16(in_quarter * (1 << integer_bits)) + (1 << 12);
  const int32_t a2 = narrow_high_16(a, a), a3 = narrow_high_16(a2, a);
  const int32_t a4_over_4 = narrow_rounding_divide_by_pot(narrow_high_16(a2, a2), 2);
  const int32_t higher = narrow_rounding_divide_by_pot(narrow_high_16(a4_over_4 + a3, third) + a2, 1);
  int32_t result = narrow_saturate_16(exp_minus_eighth + narrow_high_16(a + higher, exp_minus_eighth));
  for (int32_t i = 0; i < integer_bits + 2 && i < 7; ++i) {
    if ((in_quarter - x) & (1 << (fraction_bits + i - 2))) result = narrow_high_16(result, powers[i]);
  }
  return result;
}

/* 2 / (1 + x) in units of 2^-13 for an x of 0 to 1 in units of 2^-15: three Newton-Raphson steps. */
static inline int32_t narrow_reciprocal_16(int32_t x) {
  const int32_t half = (x + (1 << 15)) >> 1;
  int32_t y = 23130 + narrow_high_16(half, -15420);
  for (int32_t i = 0; i < 3; ++i) {
    y += narrow_saturate_16(narrow_high_16(y, (1 << 13) - narrow_high_16(half, y)) * 4);
  }
  return y;
}

static inline int32_t narrow_logistic_16(int32_t x, int32_t integer_bits) {
  if (x == 0) return 1 << 14;
  const int32_t y = narrow_saturate_16(narrow_reciprocal_16(narrow_exp_16(x < 0 ? x : -x, integer_bits)) * 2);
  return x > 0 ? y : 32767 - y;
}

static inline int32_t narrow_tanh_16(int32_t x, int32_t integer_bits) {
  if (x == 0) return 0;
  const int32_t decayed = narrow_exp_16(x < 0 ? x : -x, integer_bits + 1); /* exp(-2 |x|): one integer bit more */
  const int32_t y = narrow_saturate_16((narrow_reciprocal_16(decayed) - (1 << 13)) * 4);
  return x < 0 ? -y : y;
}

/* A curve at x, -32768..32767. */
static NARROW_INLINE int32_t narrow_curve_at(const narrow_curve *curve, int32_t x) {
  if (curve->kind == NARROW_CURVE_TABLE) return curve->table[x + 32768];
  if (curve->kind == NARROW_CURVE_LOGISTIC_16) return narrow_logistic_16(x, curve->shift);
  if (curve->kind == NARROW_CURVE_TANH_16) return narrow_tanh_16(x, curve->shift);
  const int32_t scaled = (x * curve->multiplier + ((1 << curve->shift) >> 1)) >> curve->shift;
  if (curve->kind == NARROW_CURVE_LOGISTIC) return narrow_logistic_interpolated(curve->table, scaled);
  return narrow_tanh_interpolated(curve->table, scaled);
}

#endif
