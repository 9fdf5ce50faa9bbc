/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

static NARROW_INLINE void mul(int32_t repeats, int32_t count, const int32_t *zero_points,
                              const narrow_rescale *rescale, const int8_t *a, const int8_t *b, int8_t *output,
                              narrow_end end, int32_t start) {
  for (int32_t repeat = 0; repeat < repeats; ++repeat) {
    for (int32_t i = 0; i < count; ++i) {
      *output++ = narrow_finish(end, rescale, 0, start + (*a++ - zero_points[0]) * (b[i] - zero_points[1]));
    }
  }
}

NARROW_DEFINE_ENDS(narrow_mul,
                   (int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                    const int8_t *a, const int8_t *b, int8_t *output),
                   mul(repeats, count, zero_points, rescale, a, b, output, end, rescale->start[0]))
