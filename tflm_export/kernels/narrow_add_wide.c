/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_add_wide(int32_t repeats, int32_t count, int64_t factor_a, int64_t factor_b, int64_t start,
                                   int32_t shift, const int8_t *a, const int8_t *b, int8_t *output) {
  for (int32_t repeat = 0; repeat < repeats; ++repeat) {
    for (int32_t i = 0; i < count; ++i) {
      const int64_t y = (start + *a++ * factor_a + b[i] * factor_b) >> shift;
      *output++ = y < -128 ? -128 : y > 127 ? 127 : (int8_t)y;
    }
  }
}
