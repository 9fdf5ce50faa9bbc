/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_mean_stock(int32_t outer, int32_t count, int32_t inner, int32_t input_zero_point,
                                     const narrow_rescale *rescale, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < outer; ++i, input += count * inner) {
    for (int32_t c = 0; c < inner; ++c) {
      int32_t sum = -count * input_zero_point;
      for (int32_t j = 0; j < count; ++j) sum += input[j * inner + c];
      *output++ = narrow_end_stock(rescale, 0, sum);
    }
  }
}
