/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_pool.h"

static NARROW_INLINE void narrow_pool(const narrow_pooled_part *part, narrow_divisor *divisor, int8_t *output) {
  int32_t c = 0;
  (void)divisor;
  if (part->channels % 4 == 0 && narrow_are_words(part->first, output)) {
    for (; c < part->channels; c += 4) {
      const int8_t *line = part->first + c;
      uint32_t found = narrow_four(-128);
      for (int32_t y = 0; y < part->rows; ++y, line += part->row) {
        const int8_t *element = line;
        for (int32_t x = 0; x < part->columns; ++x, element += part->channels) {
          found = narrow_larger_four(found, narrow_get_four(element));
        }
      }
      narrow_set_four(output + c, found);
    }
  }
  for (; c < part->channels; ++c) {
    const int8_t *line = part->first + c;
    int32_t found = -128;
    for (int32_t y = 0; y < part->rows; ++y, line += part->row) {
      const int8_t *element = line;
      for (int32_t x = 0; x < part->columns; ++x, element += part->channels) found = narrow_larger(found, *element);
    }
    output[c] = (int8_t)found;
  }
}

NARROW_KERNEL void narrow_max_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  narrow_pool_2d(window, input, output);
}
