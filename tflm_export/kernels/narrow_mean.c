/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_mean(int32_t outer, int32_t count, int32_t inner, int32_t factor, int32_t start,
                               int32_t divisor, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < outer; ++i, input += narrow_times(count, inner)) {
    for (int32_t c = 0; c < inner; ++c) {
      int32_t sum = 0;
      for (int32_t j = 0; j < count; ++j) sum += input[narrow_times(inner, j) + c];
      const int32_t numerator = narrow_times(factor, sum) + start;
      /* A negative quotient saturates, so that truncation and floor are the same where it matters. */
      *output++ = numerator < 0 ? -128 : narrow_saturate(narrow_quotient(numerator, divisor) - 128);
    }
  }
}
