/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROW_NORMALIZE_H
#define NARROW_NORMALIZE_H

#include "narrow_fixed_point.h"
#include "narrow_types.h"

/* Vectors of length one along the last axis, [rows, depth], bit for bit those of the stock runtimes.
 *
 * low, high: limits of type `to`. zero: Zx; zero_point: Zy.
 * left_shift: of x - Zx, before the rescale, 0..15. right_shift: of the rescale, beyond 31 and the inverse root's,
 *   -31..19. The sum of the squares of a row and x - Zx shifted to the left fit 32 bits. */
static NARROW_INLINE void narrow_normalize(narrow_type type, narrow_type to, int32_t rows, int32_t depth, int32_t zero,
                                           int32_t left_shift, int32_t right_shift, int32_t zero_point, int32_t low,
                                           int32_t high, const void *x, void *y) {
  for (int32_t row = 0, first = 0; row < rows; ++row, first += depth) {
    int32_t sum = 0, multiplier, shift;
    for (int32_t i = first; i < first + depth; ++i) {
      const int32_t centred = (int32_t)narrow_load(type, x, i) - zero;
      sum += centred * centred;
    }
    narrow_inverse_square_root(sum, &multiplier, &shift);
    for (int32_t i = first; i < first + depth; ++i) {
      const int32_t centred = ((int32_t)narrow_load(type, x, i) - zero) * (1 << left_shift);
      const int64_t scaled = narrow_stock_rescale(centred, multiplier, shift + right_shift);
      narrow_store(to, y, i, narrow_between(scaled + zero_point, low, high));
    }
  }
}

#endif
