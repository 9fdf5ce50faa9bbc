/* SPDX-License-Identifier: Apache-2.0 */
/* See rescale_loop.h. RESCALE_END: the end of a layer, as in narrow_rescale.h, or one of those below. */
#include "rescale_loop.h"

#include "narrow_rescale.h"
#include "rescale_end.h"

/* What remains of the loop when the rescale is taken out: the accumulator's low byte is stored. */
static NARROW_INLINE int8_t rescale_none(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  (void)rescale;
  (void)c;
  return (int8_t)acc;
}

void rescale_loop(const int8_t *input, int8_t *output) {
  const rescale_input *all = (const rescale_input *)(const void *)input;
  narrow_end *const ends[] = {rescale_none, narrow_end_shift, narrow_end_multiply, narrow_end_wide, narrow_end_stock};
  const narrow_rescale rescale = {all->accumulator, all->multiplier, all->fold, all->shift, RESCALE_ZERO_POINT};
#pragma GCC unroll 4 /* with and without a rescale alike: only then does their difference hold nothing else */
  for (int32_t c = 0; c < RESCALE_COUNT; ++c) output[c] = ends[RESCALE_END](&rescale, c, all->accumulator[c]);
}
