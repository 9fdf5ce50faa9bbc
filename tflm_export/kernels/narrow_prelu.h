/* SPDX-License-Identifier: Apache-2.0 */
/* One input at another scale, where each negative element has a slope of its own. */
#ifndef NARROW_PRELU_H
#define NARROW_PRELU_H

#include "narrow_broadcast.h"
#include "narrow_types.h"

/* y = min(max(f(x - Zx), low), high) + Zy; of negative numbers f'((x - Zx) * (a - Za)).
 *
 * x, a: of at most 32 bits; with their zero points taken off, too. zero_points: of x, a and y. low, high: of y without
 * its zero point. */
static NARROW_INLINE void narrow_prelu(narrow_type type_x, narrow_type type_a, narrow_type type_y,
                                       narrow_rounding above, narrow_rounding below, const narrow_broadcast *shape,
                                       const narrow_factors *above_factors, const narrow_factors *below_factors,
                                       const int32_t *zero_points, int64_t low, int64_t high, const void *x,
                                       const void *a, void *y) {
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int32_t p = (int32_t)(narrow_load(type_x, x, row.a + i * shape->step_a) - zero_points[0]);
      const int32_t q = (int32_t)(narrow_load(type_a, a, row.b + i * shape->step_b) - zero_points[1]);
      const int64_t value = p < 0 ? narrow_apply(below, below_factors, 0, (int64_t)p * q)
                                  : narrow_apply(above, above_factors, 0, p);
      narrow_store(type_y, y, row.y + i, narrow_between(value, low, high) + zero_points[2]);
    }
  } while (narrow_next_row(shape, &row));
}

#endif
