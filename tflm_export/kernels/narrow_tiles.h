/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution tile by tile: what the cores with a kernel for it share. */
#ifndef NARROW_TILES_H
#define NARROW_TILES_H

#include "narrow_window.h"

/* A few pixels that are next to one another, and all channels. Made by a macro, which has the sizes in it.
 *
 * rows: for each row of the kernel, the inputs under the first pixel's window.
 * weights: for each pair of channels, in the order of their use: where the two start; the weights; where the kernel
 *   ends the layer itself, two multipliers and two folds but for NARROW_END_SHIFT, and a word of both shifts, the first
 *   one's lowest. Of an odd number of channels the last two are a pair, too. */
typedef void narrow_tile_kernel(const int32_t *const *rows, void *output, const int32_t *weights);

#define NARROW_TILE_ROWS 15 /* of a kernel, at most, where rows are not side by side */

/* Words behind a pair's weights. */
static NARROW_INLINE int32_t narrow_tile_tail(narrow_end end) {
  return end == NARROW_END_NONE ? 0 : end == NARROW_END_SHIFT ? 1 : 5;
}

/* What a tile kernel makes of the sum of channel c of a pair (0, 1), from what is behind its weights. */
static NARROW_INLINE int8_t narrow_tile_end(narrow_end end, const int32_t *tail, int32_t c, int32_t sum) {
  const int8_t shift = (int8_t)((uint32_t)tail[narrow_tile_tail(end) - 1] >> (8 * c));
  const narrow_rescale rescale = {0, &tail[c], &tail[2 + c], &shift, 0};
  return narrow_finish(end, &rescale, 0, sum);
}

/* A layer's tile kernels and what they read.
 *
 * kernel: of tiles of `pixels` pixels. shorter: of one pixel less, or NULL.
 * pixel, channel: bytes from output to output. end: for kernels of sums, with the rescale that it reads; else
 * NARROW_END_NONE. */
typedef struct {
  narrow_tile_kernel *kernel, *shorter;
  const int32_t *weights;
  int32_t pixels, channels, pixel, channel;
  narrow_end end;
  const narrow_rescale *rescale;
} narrow_tile_layer;

/* Pixels of the next tile where `left` are left, so that tiles that are shorter come first and none is in vain: from 6
 * pixels on tiles of 4 and 3 add up to any number. */
static NARROW_INLINE int32_t narrow_tile_pixels(const narrow_tile_layer *layer, int32_t left) {
  return layer->shorter != 0 && left % layer->pixels != 0 ? layer->pixels - 1 : layer->pixels;
}

/* One tile of `pixels` pixels. sums: [channels, pixels], for kernels of sums. */
static NARROW_INLINE void narrow_tile(const narrow_tile_layer *layer, int32_t pixels, const int32_t *const *rows,
                                      int8_t *output, int32_t *sums) {
  narrow_tile_kernel *const kernel = pixels == layer->pixels ? layer->kernel : layer->shorter;
  if (layer->end == NARROW_END_NONE) {
    kernel(rows, output, layer->weights);
    return;
  }
  kernel(rows, sums, layer->weights);
  for (int32_t c = 0; c < layer->channels; ++c, sums += pixels, output += layer->channel) {
    for (int32_t p = 0; p < pixels; ++p) {
      output[p * layer->pixel] = narrow_finish(layer->end, layer->rescale, c, sums[p]);
    }
  }
}

#endif
