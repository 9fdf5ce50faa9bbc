/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_clamp(int32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < count; ++i) {
    const int8_t x = input[i];
    output[i] = x < low ? low : x > high ? high : x;
  }
}
