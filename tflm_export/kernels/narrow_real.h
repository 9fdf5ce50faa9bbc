/* SPDX-License-Identifier: Apache-2.0 */
/* The borders between integers and real numbers. Not for compilers that are told to take liberties with floating point
 * (-ffast-math), nor to keep more precision than float has: outputs are a runtime's, bit for bit. */
#ifndef NARROW_REAL_H
#define NARROW_REAL_H

#include "narrow_memory.h"
#include "narrow_types.h"

/* x rounded to the nearest integer, halves away from zero; `most` of its sign beyond, and 0 for what is no number.
 *
 * most: a power of two within 63 bits. */
static NARROW_INLINE int64_t narrow_round(float x, int64_t most) {
  const float magnitude = x < 0 ? -x : x;
  if (!(magnitude < (float)most)) return x > 0 ? most : x < 0 ? -most : 0;
  if (most < INT32_MAX) { /* without functions for 64 bits */
    const int32_t whole = (int32_t)magnitude, rounded = whole + (magnitude - (float)whole >= 0.5f);
    return x < 0 ? -rounded : rounded;
  }
  const int64_t whole = (int64_t)magnitude, rounded = whole + (magnitude - (float)whole >= 0.5f);
  return x < 0 ? -rounded : rounded;
}

/* y = min(max(round(x / scale) + Zy, low), high), halves away from zero.
 *
 * y: of at most 32 bits, low to high its range. What is no number gives Zy. */
static NARROW_INLINE void narrow_quantize_real(narrow_type type_y, int32_t count, float scale, int32_t zero_y,
                                               int64_t low, int64_t high, const float *x, void *y) {
  const int64_t most = type_y == NARROW_INT32 ? (int64_t)1 << 40 : 1 << 24; /* leaves y, whatever is added */
  for (int32_t i = 0; i < count; ++i) {
    narrow_store(type_y, y, i, narrow_between(narrow_round(x[i] / scale, most) + zero_y, low, high));
  }
}

/* Behind the first `step` of rising limits, if x reaches the last one of them. */
static NARROW_INLINE const int32_t *narrow_passed(const int32_t *limits, int32_t step, int32_t x) {
  return x >= limits[step - 1] ? limits + step : limits;
}

/* The same for y of 8 bits, by where y changes, without computing in float.
 *
 * Floats are in the order of their bits, those of negative ones turned around, as integers with a sign. limits: [255],
 * of floats in that order the first one that gives low + 1, low + 2, ... or more. */
static NARROW_INLINE void narrow_quantize_real_by_limits(narrow_type type_y, int32_t count, const int32_t *limits,
                                                         int32_t zero_y, int32_t low, const float *x, void *y) {
  for (int32_t i = 0; i < count; ++i) {
    int32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    const int32_t order = bits < 0 ? bits ^ INT32_MAX : bits;
    const int32_t *at = narrow_passed(limits, 128, order);
    at = narrow_passed(narrow_passed(narrow_passed(at, 64, order), 32, order), 16, order);
    at = narrow_passed(narrow_passed(narrow_passed(at, 8, order), 4, order), 2, order);
    const int32_t steps = (int32_t)(narrow_passed(at, 1, order) - limits);
    narrow_store(type_y, y, i, (bits & INT32_MAX) > 0x7f800000 ? zero_y : low + steps);
  }
}

/* y = scale * (x - Zx), where x - Zx has at most 24 bits and a sign: the product of floats is the exact one, rounded. */
static NARROW_INLINE void narrow_dequantize(narrow_type type_x, int32_t count, float scale, int32_t zero_x,
                                            const void *x, float *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = scale * (float)((int32_t)narrow_load(type_x, x, i) - zero_x);
}

/* y = scale * (x - Zx) in double, which is 64 bits of IEEE 754, then rounded to float; x - Zx wraps. */
static NARROW_INLINE void narrow_dequantize_wide(narrow_type type_x, int32_t count, double scale, int64_t zero_x,
                                                 const void *x, float *y) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t centred = (int64_t)((uint64_t)narrow_load(type_x, x, i) - (uint64_t)zero_x);
    y[i] = (float)(scale * (double)centred);
  }
}

/* y = x, rounded to the nearest float, halves to even. */
static NARROW_INLINE void narrow_cast_to_real(narrow_type type_x, int32_t count, const void *x, float *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = (float)narrow_load(type_x, x, i);
}

#endif
