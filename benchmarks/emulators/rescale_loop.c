/* SPDX-License-Identifier: Apache-2.0 */
/* See rescale_loop.h. RESCALE_END: a narrow_end. */
#include "rescale_loop.h"

#include "narrow_rescale.h"
#include "rescale_end.h"

/* What remains of the loop when the rescale is taken out: the accumulator's low byte is stored. */
static NARROW_INLINE int8_t rescale_none(int32_t acc) { return (int8_t)acc; }

void rescale_loop(const int8_t *input, int8_t *output) {
  const rescale_input *all = (const rescale_input *)(const void *)input;
  const narrow_rescale rescale = {all->accumulator, all->multiplier, all->fold, all->shift, RESCALE_ZERO_POINT};
#pragma GCC unroll 4 /* with and without a rescale alike: only then does their difference hold nothing else */
  for (int32_t c = 0; c < RESCALE_COUNT; ++c) {
    const int32_t acc = all->accumulator[c];
    output[c] = RESCALE_END == NARROW_END_NONE ? rescale_none(acc) : narrow_finish(RESCALE_END, &rescale, c, acc);
  }
}
