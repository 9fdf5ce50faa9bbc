/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of two inputs at scales of their own, rounded once. */
#ifndef NARROW_ALIGNED_SUM_H
#define NARROW_ALIGNED_SUM_H

#include "narrow_broadcast.h"
#include "narrow_types.h"

/* y = min(max((a * factor_a + b * factor_b + start) >> shift, low), high), every partial sum within 32 bits.
 *
 * start: as for narrow_add. shift: 0..31. low, high: within y's type. */
static NARROW_INLINE void narrow_aligned_sum(narrow_type type_a, narrow_type type_b, narrow_type type_y,
                                             const narrow_broadcast *shape, int32_t factor_a, int32_t factor_b,
                                             int32_t start, int32_t shift, int32_t low, int32_t high, const void *a,
                                             const void *b, void *y) {
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int32_t p = (int32_t)narrow_load(type_a, a, row.a + i * shape->step_a);
      const int32_t q = (int32_t)narrow_load(type_b, b, row.b + i * shape->step_b);
      const int32_t sum = (p * factor_a + q * factor_b + start) >> shift;
      narrow_store(type_y, y, row.y + i, sum < low ? low : sum > high ? high : sum);
    }
  } while (narrow_next_row(shape, &row));
}

/* The same in 64 bits; shift: 0..63. */
static NARROW_INLINE void narrow_aligned_sum_wide(narrow_type type_a, narrow_type type_b, narrow_type type_y,
                                                  const narrow_broadcast *shape, int64_t factor_a, int64_t factor_b,
                                                  int64_t start, int32_t shift, int64_t low, int64_t high,
                                                  const void *a, const void *b, void *y) {
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int64_t p = narrow_load(type_a, a, row.a + i * shape->step_a);
      const int64_t q = narrow_load(type_b, b, row.b + i * shape->step_b);
      narrow_store(type_y, y, row.y + i, narrow_between((p * factor_a + q * factor_b + start) >> shift, low, high));
    }
  } while (narrow_next_row(shape, &row));
}

#endif
