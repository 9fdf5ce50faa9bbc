/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dot.h"

static NARROW_INLINE void fully_connected(int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                                          const int8_t *weights, const int8_t *input, int8_t *output,
                                          narrow_end end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  rescale = &own_rescale;
  for (int32_t row = 0; row < rows; ++row) {
    narrow_dot(depth, channels, rescale, weights, input, output, end);
    input += depth;
    output += channels;
  }
}

NARROW_DEFINE_ENDS(narrow_fully_connected,
                   (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                    const int8_t *weights, const int8_t *input, int8_t *output),
                   fully_connected(rows, depth, channels, rescale, weights, input, output, end))
