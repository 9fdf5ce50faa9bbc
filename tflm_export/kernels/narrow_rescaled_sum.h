/* SPDX-License-Identifier: Apache-2.0 */
/* The stock runtimes' sums: both inputs to a common scale, then their sum to the output's, each rescale rounded. */
#ifndef NARROW_RESCALED_SUM_H
#define NARROW_RESCALED_SUM_H

#include "narrow_broadcast.h"
#include "narrow_types.h"

/* y = min(max(f2(sign_a * f0((a - Za) << left_shift) + sign_b * f1((b - Zb) << left_shift)), low), high) + Zy.
 *
 * factors: of a, b and the sum. What they are applied to, and the sum, are within 32 bits where they round twice.
 * zero_points: of a, b and y. signs: 1 or -1, of a and b. low, high: of y without its zero point. */
static NARROW_INLINE void narrow_rescaled_sum(narrow_type type_a, narrow_type type_b, narrow_type type_y,
                                              narrow_rounding rounding, const narrow_broadcast *shape,
                                              const narrow_factors *factors, const int32_t *zero_points,
                                              int32_t left_shift, int32_t sign_a, int32_t sign_b, int64_t low,
                                              int64_t high, const void *a, const void *b, void *y) {
  const int64_t left = (int64_t)1 << left_shift;
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int64_t p = (narrow_load(type_a, a, row.a + i * shape->step_a) - zero_points[0]) * left;
      const int64_t q = (narrow_load(type_b, b, row.b + i * shape->step_b) - zero_points[1]) * left;
      const int64_t sum =
          sign_a * narrow_apply(rounding, factors, 0, p) + sign_b * narrow_apply(rounding, factors, 1, q);
      const int64_t value = narrow_between(narrow_apply(rounding, factors, 2, sum), low, high);
      narrow_store(type_y, y, row.y + i, value + zero_points[2]);
    }
  } while (narrow_next_row(shape, &row));
}

#endif
