/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_fixed_point.h"

#define SUM_BITS 12 /* integer bits of the sum of exponentials */

NARROW_KERNEL void narrow_softmax(int32_t rows, int32_t depth, int32_t length, const int32_t *exponentials,
                                  const int8_t *input, int8_t *output) {
  for (int32_t row = 0; row < rows; ++row, input += depth, output += depth) {
    int32_t largest = -128;
    for (int32_t i = 0; i < depth; ++i) largest = input[i] > largest ? input[i] : largest;

    int32_t sum = 0;
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t difference = largest - input[i];
      if (difference < length) sum += narrow_rounding_divide_by_pot(exponentials[difference], SUM_BITS);
    }

    /* sum = (1 + a) * 2^(31 - headroom): the largest input alone makes it 2^19. */
    int32_t headroom = 0;
    while (((uint32_t)sum << headroom) < 0x80000000u) ++headroom;
    const int32_t inverse = narrow_one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    const int32_t exponent = SUM_BITS - headroom + 31 - 8;

    for (int32_t i = 0; i < depth; ++i) {
      const int32_t difference = largest - input[i];
      int32_t y = -128;
      if (difference < length && exponent < 32) { /* beyond that, every share rounds to 0 */
        y += narrow_rounding_divide_by_pot(narrow_multiply_q0(inverse, exponentials[difference]), exponent);
      }
      output[i] = narrow_saturate(y);
    }
  }
}
