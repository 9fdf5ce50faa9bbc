/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution tile by tile: what the cores with a kernel for it share. */
#ifndef NARROW_TILES_H
#define NARROW_TILES_H

#include "narrow_window.h"

/* A few pixels that are next to one another, and all channels. Made by a macro, which has the sizes in it.
 *
 * rows: for each row of the kernel, the inputs under the first pixel's window. */
typedef void narrow_tile_kernel(const int32_t *const *rows, void *output, const int32_t *weights,
                                const int32_t *records);

#define NARROW_TILE_ROWS 15 /* of a kernel, at most, where rows are not side by side */

/* What a tile kernel makes of the sum of channel c of a pair (0, 1), from the pair's record: where the two channels
 * start, then multipliers and folds but for NARROW_END_SHIFT, then shifts. */
static NARROW_INLINE int8_t narrow_tile_end(narrow_end end, const int32_t *record, int32_t c, int32_t sum) {
  const int8_t shift = (int8_t)record[(end == NARROW_END_SHIFT ? 2 : 6) + c];
  const narrow_rescale rescale = {0, &record[2 + c], &record[4 + c], &shift, 0};
  return narrow_finish(end, &rescale, 0, sum);
}

/* Words of a record. */
static NARROW_INLINE int32_t narrow_tile_record(narrow_end end) {
  return end == NARROW_END_NONE ? 2 : end == NARROW_END_SHIFT ? 4 : 8;
}

/* A layer's tile kernel and what it reads.
 *
 * pixel, channel: bytes from output to output. end: for kernels of sums, with the rescale that it reads; else
 * NARROW_END_NONE. */
typedef struct {
  narrow_tile_kernel *kernel;
  const int32_t *weights, *records;
  int32_t channels, pixel, channel;
  narrow_end end;
  const narrow_rescale *rescale;
} narrow_tile_layer;

/* One tile of `pixels` pixels. sums: [channels, pixels], for kernels of sums. */
static NARROW_INLINE void narrow_tile(const narrow_tile_layer *layer, int32_t pixels, const int32_t *const *rows,
                                      int8_t *output, int32_t *sums) {
  if (layer->end == NARROW_END_NONE) {
    layer->kernel(rows, output, layer->weights, layer->records);
    return;
  }
  layer->kernel(rows, sums, layer->weights, layer->records);
  for (int32_t c = 0; c < layer->channels; ++c, sums += pixels, output += layer->channel) {
    for (int32_t p = 0; p < pixels; ++p) {
      output[p * layer->pixel] = narrow_finish(layer->end, layer->rescale, c, sums[p]);
    }
  }
}

#endif
