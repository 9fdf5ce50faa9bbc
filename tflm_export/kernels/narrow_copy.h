/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of rows that are long, or many. */
#ifndef NARROW_COPY_H
#define NARROW_COPY_H

#include "narrow_bytes.h"
#include "narrow_memory.h"

/* memcpy, by words where both sides begin at one: that of small libraries goes byte by byte. */
static NARROW_INLINE void narrow_copy_words(int32_t bytes, const int8_t *input, int8_t *output) {
  int32_t i = 0;
  if (narrow_are_words(input, output)) {
    for (; i + 16 <= bytes; i += 16) {
      const uint32_t a = narrow_get_four(input + i), b = narrow_get_four(input + i + 4);
      const uint32_t c = narrow_get_four(input + i + 8), d = narrow_get_four(input + i + 12);
      narrow_set_four(output + i, a);
      narrow_set_four(output + i + 4, b);
      narrow_set_four(output + i + 8, c);
      narrow_set_four(output + i + 12, d);
    }
  }
  memcpy(output + i, input + i, (size_t)(bytes - i));
}

#endif
