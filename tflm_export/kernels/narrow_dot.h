/* SPDX-License-Identifier: Apache-2.0 */
/* One row of inputs against the weights of every output channel. */
#ifndef NARROW_DOT_H
#define NARROW_DOT_H

#include "narrow_rescale.h"

/* weights: [channels, depth]; input: [depth]; output: [channels]. Two channels at a time share each input; more would
 * not fit the eight low registers of ARMv6-M. */
static NARROW_INLINE void narrow_dot(int32_t depth, int32_t channels, const narrow_rescale *rescale,
                                     const int8_t *weights, const int8_t *input, int8_t *output, narrow_end end) {
  int32_t c = 0;
  for (; c + 1 < channels; c += 2) {
    const int8_t *next = weights + depth;
    int32_t acc0 = rescale->start[c];
    int32_t acc1 = rescale->start[c + 1];
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t x = input[i];
      acc0 += x * weights[i];
      acc1 += x * next[i];
    }
    output[c] = narrow_finish(end, rescale, c, acc0);
    output[c + 1] = narrow_finish(end, rescale, c + 1, acc1);
    weights = next + depth;
  }
  if (c < channels) {
    int32_t acc = rescale->start[c];
    for (int32_t i = 0; i < depth; ++i) acc += (int32_t)input[i] * weights[i];
    output[c] = narrow_finish(end, rescale, c, acc);
  }
}

#endif
