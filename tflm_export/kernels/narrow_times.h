/* SPDX-License-Identifier: Apache-2.0 */
/* Products and quotients that are few: of addresses, of the mean of a pool, of a softmax. On a core without a multiplier
 * they are made of shifts and additions here, as compilers would call functions for them that a program need not have. */
#ifndef NARROW_TIMES_H
#define NARROW_TIMES_H

#include <stdint.h>

#include "narrow_compiler.h"

#if NARROW_GNU
#define NARROW_BY_BITS __attribute__((noinline, unused)) /* each file has one */
#else
#define NARROW_BY_BITS inline
#endif

/* a * b, which wraps; the fewer bits b has, the faster. */
static NARROW_BY_BITS uint32_t narrow_product_by_bits(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; b != 0; b >>= 1, a <<= 1) product += a & (0u - (b & 1u));
  return product;
}

/* n / d, rounded down; d: 1..2^31. */
static NARROW_BY_BITS uint32_t narrow_quotient_by_bits(uint32_t n, uint32_t d) {
  uint32_t quotient = 0, rest = 0;
  for (int32_t i = 0; i < 32; ++i, n <<= 1) {
    rest = rest << 1 | n >> 31;
    quotient <<= 1;
    if (rest >= d) {
      rest -= d;
      ++quotient;
    }
  }
  return quotient;
}

/* a * b; b may be the one with fewer bits. */
static NARROW_INLINE int32_t narrow_times(int32_t a, int32_t b) {
#if NARROW_MULTIPLIER
  return a * b;
#else
  const uint32_t product = narrow_product_by_bits((uint32_t)a, b < 0 ? 0u - (uint32_t)b : (uint32_t)b);
  return (int32_t)(b < 0 ? 0u - product : product);
#endif
}

/* n / d, rounded to 0; d: 1..2^31 - 1. */
static NARROW_INLINE int32_t narrow_quotient(int32_t n, int32_t d) {
#if NARROW_MULTIPLIER
  return n / d;
#else
  const uint32_t quotient = narrow_quotient_by_bits(n < 0 ? 0u - (uint32_t)n : (uint32_t)n, (uint32_t)d);
  return (int32_t)(n < 0 ? 0u - quotient : quotient);
#endif
}

#endif
