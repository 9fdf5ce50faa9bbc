/* SPDX-License-Identifier: Apache-2.0 */
/* uint8 as int8, 128 less, and back: the other top bit. */
#ifndef NARROW_FLIP_H
#define NARROW_FLIP_H

#include "narrow_bytes.h"

/* input, output: bytes of either type. */
static NARROW_INLINE void narrow_flip(int32_t count, const void *input, void *output) {
  const uint8_t *x = (const uint8_t *)input;
  uint8_t *y = (uint8_t *)output;
  int32_t i = 0;
  if (narrow_are_words(input, output)) {
    for (; i + 8 <= count; i += 8) {
      const uint32_t first = narrow_get_four(x + i), second = narrow_get_four(x + i + 4);
      narrow_set_four(y + i, first ^ 0x80808080u);
      narrow_set_four(y + i + 4, second ^ 0x80808080u);
    }
  }
  for (; i < count; ++i) y[i] = (uint8_t)(x[i] ^ 0x80u);
}

#endif
