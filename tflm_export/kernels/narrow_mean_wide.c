/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_mean_wide(int32_t outer, int32_t count, int32_t inner, int64_t factor, int64_t start,
                                    int64_t divisor, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < outer; ++i, input += count * inner) {
    for (int32_t c = 0; c < inner; ++c) {
      int32_t sum = 0;
      for (int32_t j = 0; j < count; ++j) sum += input[j * inner + c];
      const int64_t numerator = sum * factor + start;
      const int64_t quotient = numerator / divisor;
      *output++ = numerator < 0 ? -128 : quotient > 255 ? 127 : (int8_t)(quotient - 128);
    }
  }
}
