/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

#define SUM_BITS 12 /* integer bits of the sum of exponentials */

/* a * b of two numbers below 1 in magnitude with 31 fraction bits; -1 * -1 does not occur. */
static NARROW_INLINE int32_t product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* 1 / (1 + a) for a in [0, 1), 31 fraction bits on both sides: three Newton-Raphson steps from 48/17 - 32/17 * d on
 * x = 1/d, d = (1 + a) / 2, with 29 fraction bits of x. (gemmlowp's one_over_one_plus_x_for_x_in_0_1.) */
static int32_t one_over_one_plus(int32_t a) {
  const int32_t d = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
  int32_t x = 1515870810 + product(d, -1010580540);
  for (int32_t i = 0; i < 3; ++i) {
    const int32_t error = (1 << 29) - product(d, x);
    x += product(x, error) * 4;
  }
  return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

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
    const int32_t inverse = one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    const int32_t exponent = SUM_BITS - headroom + 31 - 8;

    for (int32_t i = 0; i < depth; ++i) {
      const int32_t difference = largest - input[i];
      int32_t y = -128;
      if (difference < length && exponent < 32) { /* beyond that, every share rounds to 0 */
        y += narrow_rounding_divide_by_pot(product(inverse, exponentials[difference]), exponent);
      }
      output[i] = narrow_saturate(y);
    }
  }
}
