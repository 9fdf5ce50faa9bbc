/* SPDX-License-Identifier: Apache-2.0 */
/* One input at another scale. */
#ifndef NARROW_REQUANTIZE_H
#define NARROW_REQUANTIZE_H

#include "narrow_types.h"

/* y = min(max(rescale(x - Zx), low), high) + Zy.
 *
 * x: of at most 32 bits. low, high: of y without its zero point. */
static NARROW_INLINE void narrow_requantize(narrow_type type_x, narrow_type type_y, narrow_rounding rounding,
                                            int32_t count, const narrow_factors *factors, int32_t zero_x,
                                            int32_t zero_y, int64_t low, int64_t high, const void *x, void *y) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t value = narrow_apply(rounding, factors, 0, narrow_load(type_x, x, i) - zero_x);
    narrow_store(type_y, y, i, narrow_between(value, low, high) + zero_y);
  }
}

/* The same of |x - Zx|. */
static NARROW_INLINE void narrow_requantize_magnitude(narrow_type type_x, narrow_type type_y, narrow_rounding rounding,
                                                      int32_t count, const narrow_factors *factors, int32_t zero_x,
                                                      int32_t zero_y, int64_t low, int64_t high, const void *x,
                                                      void *y) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t centred = narrow_load(type_x, x, i) - zero_x;
    const int64_t value = narrow_apply(rounding, factors, 0, centred < 0 ? -centred : centred);
    narrow_store(type_y, y, i, narrow_between(value, low, high) + zero_y);
  }
}

/* The same with another rescale of negative numbers, whose result is multiplied by its sign.
 *
 * factors: of numbers that are not negative, and of those that are, with a rounding each. sign_below: 1 or -1. */
static NARROW_INLINE void narrow_requantize_slopes(narrow_type type_x, narrow_type type_y, narrow_rounding above,
                                                   narrow_rounding below, int32_t count,
                                                   const narrow_factors *above_factors,
                                                   const narrow_factors *below_factors, int32_t sign_below,
                                                   int32_t zero_x, int32_t zero_y, int64_t low, int64_t high,
                                                   const void *x, void *y) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t centred = narrow_load(type_x, x, i) - zero_x;
    const int64_t value = centred < 0 ? sign_below * narrow_apply(below, below_factors, 0, centred)
                                      : narrow_apply(above, above_factors, 0, centred);
    narrow_store(type_y, y, i, narrow_between(value, low, high) + zero_y);
  }
}

#endif
