/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

/* A factor of a term: away is -1 where a second rounding follows, whose halves go away from zero, else 0. */
typedef struct {
  int32_t zero_point, multiplier, shift, half, away;
} narrow_term;

static NARROW_INLINE narrow_term narrow_term_of(int32_t zero_point, int32_t multiplier, int32_t shift) {
  const narrow_term term = {zero_point, multiplier, shift, (int32_t)((1u << shift) >> 1), shift > 0 ? -1 : 0};
  return term;
}

/* narrow_stock_rescale of the element at 2^20, with all of it far from overflow. */
static NARROW_INLINE int32_t narrow_term_at(const narrow_term *term, int32_t x) {
  const int32_t value = (x - term->zero_point) * (1 << 20);
  const int32_t product = narrow_doubling_high_multiply_30(value, term->multiplier);
  return (product + ((value >> 31) & term->away) + term->half) >> term->shift;
}

NARROW_KERNEL void narrow_add_stock(int32_t repeats, int32_t count, const int32_t *multipliers, const int8_t *shifts,
                                    const int32_t *zero_points, const int8_t *a, const int8_t *b, int8_t *output) {
  /* In variables of its own, which no store to the output can reach. */
  const narrow_term term_a = narrow_term_of(zero_points[0], multipliers[0], shifts[0]);
  const narrow_term term_b = narrow_term_of(zero_points[1], multipliers[1], shifts[1]);
  const int32_t zero_point = zero_points[2], multiplier = multipliers[2];
  const int8_t shift = shifts[2];
  const int is_folded = shift > 0 && shift <= 20;
  const int32_t fold = is_folded ? (1 << shift >> 1) + zero_point * (1 << shift) : 0;
  const narrow_rescale to_output = {0, &multiplier, &fold, &shift, zero_point};
  for (int32_t repeat = 0; repeat < repeats; ++repeat, a += count, output += count) {
    /* Both factors are at most 1/2, so the sums fit 28 bits and a sign. */
    if (is_folded) {
      for (int32_t i = 0; i < count; ++i) {
        const int32_t sum = narrow_term_at(&term_a, a[i]) + narrow_term_at(&term_b, b[i]);
        const int32_t product = narrow_doubling_high_multiply_30(sum, multiplier);
        output[i] = narrow_saturate((product + (sum >> 31) + fold) >> shift);
      }
    } else {
      for (int32_t i = 0; i < count; ++i) {
        output[i] = narrow_end_stock(&to_output, 0, narrow_term_at(&term_a, a[i]) + narrow_term_at(&term_b, b[i]));
      }
    }
  }
}
