/* SPDX-License-Identifier: Apache-2.0 */
/* Products of two inputs, element by element. */
#ifndef NARROW_RESCALED_PRODUCT_H
#define NARROW_RESCALED_PRODUCT_H

#include "narrow_broadcast.h"
#include "narrow_types.h"

/* y = min(max(rescale((a - Za) * (b - Zb)), low), high) + Zy.
 *
 * a, b: of at most 32 bits; with their zero points taken off, too. zero_points: of a, b and y. low, high: of y without
 * its zero point. */
static NARROW_INLINE void narrow_rescaled_product(narrow_type type_a, narrow_type type_b, narrow_type type_y,
                                                  narrow_rounding rounding, const narrow_broadcast *shape,
                                                  const narrow_factors *factors, const int32_t *zero_points,
                                                  int64_t low, int64_t high, const void *a, const void *b, void *y) {
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int32_t p = (int32_t)(narrow_load(type_a, a, row.a + i * shape->step_a) - zero_points[0]);
      const int32_t q = (int32_t)(narrow_load(type_b, b, row.b + i * shape->step_b) - zero_points[1]);
      const int64_t value = narrow_between(narrow_apply(rounding, factors, 0, (int64_t)p * q), low, high);
      narrow_store(type_y, y, row.y + i, value + zero_points[2]);
    }
  } while (narrow_next_row(shape, &row));
}

#endif
