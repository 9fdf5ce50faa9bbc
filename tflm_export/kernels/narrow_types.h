/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of any type and factors of any kind, for kernels that serve all of them.
 *
 * Such kernels are inline functions whose parameters say the types and roundings. Layers call them with constants there,
 * so that what is left of a call is the loop for the types at hand. */
#ifndef NARROW_TYPES_H
#define NARROW_TYPES_H

#include "narrow_rescale.h"

#if NARROW_GNU
#define NARROW_ANYWHERE __attribute__((may_alias)) /* an arena holds one type after another in the same place */
#else
#define NARROW_ANYWHERE
#endif
typedef NARROW_ANYWHERE int16_t narrow_int16;
typedef NARROW_ANYWHERE int32_t narrow_int32;
typedef NARROW_ANYWHERE int64_t narrow_int64;

typedef enum { NARROW_INT8, NARROW_UINT8, NARROW_INT16, NARROW_INT32, NARROW_INT64 } narrow_type;

/* Element i of an array of a type. */
static NARROW_INLINE int64_t narrow_load(narrow_type type, const void *x, int32_t i) {
  switch (type) {
    case NARROW_INT8: return ((const int8_t *)x)[i];
    case NARROW_UINT8: return ((const uint8_t *)x)[i];
    case NARROW_INT16: return ((const narrow_int16 *)x)[i];
    case NARROW_INT32: return ((const narrow_int32 *)x)[i];
    default: return ((const narrow_int64 *)x)[i];
  }
}

/* Puts a value that the type holds to place i of an array. */
static NARROW_INLINE void narrow_store(narrow_type type, void *y, int32_t i, int64_t value) {
  switch (type) {
    case NARROW_INT8: ((int8_t *)y)[i] = (int8_t)value; break;
    case NARROW_UINT8: ((uint8_t *)y)[i] = (uint8_t)value; break;
    case NARROW_INT16: ((narrow_int16 *)y)[i] = (int16_t)value; break;
    case NARROW_INT32: ((narrow_int32 *)y)[i] = (int32_t)value; break;
    default: ((narrow_int64 *)y)[i] = value; break;
  }
}

/* min(max(x, low), high). */
static NARROW_INLINE int64_t narrow_between(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/* The low 32 bits, as sums of 32 bits are that wrap. */
static NARROW_INLINE int32_t narrow_wrap(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }

/* How a factor multiplies. The first three compute the same as NARROW_ONCE, in 32 bits, where c/types.py proved it:
 *
 *   NARROW_SHIFT      (x + half) >> s; there is no multiplier
 *   NARROW_ONCE_32    (x * m + half) >> s of products of 32 bits
 *   NARROW_ONCE_48    the same of products of 48 bits, in halves of x
 *   NARROW_ONCE       (x * m + half) >> s in 64 bits, x * m << -s for s <= 0
 *   NARROW_ONCE_CUT   the same, of which the low 32 bits are the result (stock rescale of sums of 64 bits)
 *   NARROW_TWICE      TFLM's two roundings, of x's low 32 bits
 *   NARROW_AWAY       x / 2^s, halves away from zero */
typedef enum {
  NARROW_SHIFT,
  NARROW_ONCE_32,
  NARROW_ONCE_48,
  NARROW_ONCE,
  NARROW_ONCE_CUT,
  NARROW_TWICE,
  NARROW_AWAY
} narrow_rounding;

/* Factors, one or one for each channel.
 *
 * multiplier: NARROW_ONCE_32: |x * m| < 2^31 - 1. NARROW_ONCE_48: 0..2^16 - 1, |x * m| < 2^47 - 2^16. NARROW_ONCE:
 *   0..2^31 - 1, x * m within 64 bits, and shifted to the left, too. NARROW_TWICE: 0..2^31 - 1.
 * shift: to the right. NARROW_SHIFT, _ONCE_32: 1..32. NARROW_ONCE_48: beyond 16, 1..32. NARROW_ONCE: -62..63.
 *   NARROW_ONCE_CUT: 1..62. NARROW_TWICE: beyond 31, -31..31. NARROW_AWAY: 0..31. */
typedef struct {
  const int32_t *multiplier;
  const int8_t *shift;
} narrow_factors;

/* x / 2^s, halves up; x: less than 2^31 - 1 where s is 1; s: 1..32. */
static NARROW_INLINE int32_t narrow_half_up(int32_t x, int32_t s) { return ((x >> (s - 1)) + 1) >> 1; }

/* x * m / 2^16, rounded down, from products of 32 bits; m: 0..2^16 - 1. */
static NARROW_INLINE int32_t narrow_upper_product(int32_t x, int32_t m) {
  const uint32_t low = (((uint32_t)x & 0xffffu) * (uint32_t)m) >> 16;
  return (int32_t)((uint32_t)(x >> 16) * (uint32_t)m + low); /* the product alone may leave 32 bits */
}

/* Whether what a factor gives always fits 32 bits, so that what follows needs no more. */
static NARROW_INLINE int narrow_gives_32(narrow_rounding rounding) {
  return rounding <= NARROW_ONCE_48 || rounding == NARROW_TWICE;
}

/* x times factor c. */
static NARROW_INLINE int64_t narrow_apply(narrow_rounding rounding, const narrow_factors *factors, int32_t c,
                                          int64_t x) {
  const int32_t shift = factors->shift[c];
  if (rounding == NARROW_SHIFT) return narrow_half_up(narrow_wrap(x), shift);
  if (rounding == NARROW_ONCE_32) return narrow_half_up(narrow_wrap(x) * factors->multiplier[c], shift);
  if (rounding == NARROW_ONCE_48) {
    return narrow_half_up(narrow_upper_product(narrow_wrap(x), factors->multiplier[c]), shift);
  }
  if (rounding == NARROW_TWICE) return narrow_stock_rescale(narrow_wrap(x), factors->multiplier[c], shift);
  if (rounding == NARROW_AWAY) return shift == 0 ? x : ((((x + (x < 0 ? -1 : 0)) >> (shift - 1)) + 1) >> 1);
  const int64_t product = x * factors->multiplier[c];
  if (shift >= 63) return 0;
  if (shift <= 0) return product * ((int64_t)1 << -shift);
  const int64_t y = (product + ((int64_t)1 << (shift - 1))) >> shift;
  return rounding == NARROW_ONCE_CUT ? narrow_wrap(y) : y;
}

#endif
