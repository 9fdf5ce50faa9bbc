#include "narrow_rescale.h"

void narrow_add_stock(int32_t repeats, int32_t count, const int32_t *multipliers, const int8_t *shifts,
                      const int32_t *zero_points, const int8_t *a, const int8_t *b, int8_t *output) {
  const narrow_rescale to_output = {0, multipliers + 2, 0, shifts + 2, zero_points[2]};
  for (int32_t repeat = 0; repeat < repeats; ++repeat) {
    for (int32_t i = 0; i < count; ++i) {
      const int32_t term_a = (*a++ - zero_points[0]) * (1 << 20);
      const int32_t term_b = (b[i] - zero_points[1]) * (1 << 20);
      /* Both factors are at most 1/2, so the sum fits. */
      const int32_t sum = narrow_stock_rescale(term_a, multipliers[0], shifts[0]) +
                          narrow_stock_rescale(term_b, multipliers[1], shifts[1]);
      *output++ = narrow_end_stock(&to_output, 0, sum);
    }
  }
}
