/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_bytes.h"

static NARROW_INLINE int8_t narrow_clamped(int8_t x, int8_t low, int8_t high) {
  return x < low ? low : x > high ? high : x;
}

NARROW_KERNEL void narrow_clamp(int32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output) {
  const uint32_t lows = narrow_four(low), highs = narrow_four(high);
  int32_t i = 0;
  if (narrow_are_words(input, output)) {
    if (low == -128) { /* as a ReLU6 whose zero is the smallest integer */
      for (; i + 4 <= count; i += 4) narrow_set_four(output + i, narrow_smaller_four(narrow_get_four(input + i), highs));
    }
    for (; i + 4 <= count; i += 4) {
      const uint32_t x = narrow_larger_four(narrow_get_four(input + i), lows);
      narrow_set_four(output + i, narrow_smaller_four(x, highs));
    }
  }
  for (; i < count; ++i) output[i] = narrow_clamped(input[i], low, high);
}
