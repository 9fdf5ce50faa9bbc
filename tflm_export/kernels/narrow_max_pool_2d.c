/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_pool.h"

static NARROW_INLINE int8_t narrow_pool(const int8_t *first, int32_t rows, int32_t columns, int32_t row, int32_t next) {
  int32_t found = -128;
  for (int32_t y = 0; y < rows; ++y, first += row) {
    const int8_t *element = first;
    for (int32_t x = 0; x < columns; ++x, element += next) found = narrow_larger(found, *element);
  }
  return (int8_t)found;
}

NARROW_KERNEL void narrow_max_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  narrow_pool_2d(window, input, output);
}
