/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_add(int32_t repeats, int32_t count, int32_t factor_a, int32_t factor_b, int32_t start,
                              int32_t shift, const int8_t *a, const int8_t *b, int8_t *output) {
  for (int32_t repeat = 0; repeat < repeats; ++repeat) {
    for (int32_t i = 0; i < count; ++i) {
      *output++ = narrow_saturate((start + *a++ * factor_a + b[i] * factor_b) >> shift);
    }
  }
}
