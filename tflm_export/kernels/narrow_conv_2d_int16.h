/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of int16 with weights of int8 and sums of 32 bits, a few pixels and two channels at a time.
 *
 * The tile kernels of narrow_conv_2d_tiles_dsp.h read pairs of int16, whatever these once were: here they are the
 * inputs themselves, in order, and the kernels those of sums and of weights EACH. Those of cores without the DSP
 * extension are in narrow_conv_2d_int16_v6m.h. */
#ifndef NARROW_CONV_2D_INT16_H
#define NARROW_CONV_2D_INT16_H

#include "narrow_memory.h"
#include "narrow_products.h"
#include "narrow_tiles.h"
#include "narrow_window.h"

/* Makes words of two int16 what tile kernels take them for: the first one in the lower half. */
static NARROW_INLINE void narrow_first_lowest(int8_t *words, int32_t bytes) {
#if !NARROW_LITTLE_ENDIAN
  for (const int8_t *const end = words + bytes; words < end; words += 4) {
    int16_t halves[2];
    memcpy(halves, words, sizeof halves);
    const int32_t word = (int32_t)(((uint32_t)halves[0] & 0xffffu) | ((uint32_t)halves[1] << 16));
    memcpy(words, &word, sizeof word);
  }
#else
  (void)words;
  (void)bytes;
#endif
}

/* y = Zy + factor * (start + sum over windows of x * w), clamped; outside of the image x is 0.
 *
 * rounding, per_channel, factors, output: as for narrow_weighted_sum.
 * window: with input_channels in bytes, 2 for each.
 * layer: kernel, shorter, weights, pixels and channels; the rest is not read. All images have as many pixels as a tile
 *   or more: a tile that would go beyond them starts earlier and computes some again.
 * pitch: bytes from one window to the next, those under one rounded up so that they are whole words for the kernel.
 * scratch: pixels of a tile * (pitch + 4 * channels) bytes. */
static NARROW_INLINE void narrow_conv_2d_int16(narrow_rounding rounding, int per_channel, const narrow_window *window,
                                               const narrow_tile_layer *layer, int32_t pitch,
                                               const narrow_factors *factors, const narrow_output *output,
                                               const int16_t *x, void *y, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t image = own.input_height * own.input_width * own.input_channels, channels = own.output_channels;
  const int32_t width = own.output_width, height = own.output_height, pixels = own.batches * height * width;
  int32_t *const sums = (int32_t *)(void *)(scratch + layer->pixels * pitch);
  const int32_t *rows[2] = {(const int32_t *)(const void *)scratch, 0};
  for (int32_t i = 0, tile; i < pixels; i += tile) {
    tile = narrow_tile_pixels(layer, pixels - i);
    const int32_t first = i + tile > pixels ? pixels - tile : i;
    for (int32_t p = 0; p < tile; ++p) {
      const int32_t line = (first + p) / width, batch = line / height;
      const int32_t top = (line - batch * height) * own.stride_height - own.pad_top;
      const int32_t left = (first + p - line * width) * own.stride_width - own.pad_left;
      narrow_gather_of(2, &own, (const int8_t *)x + batch * image, top, left, scratch + p * pitch);
    }
    narrow_first_lowest(scratch, tile * pitch);
    (tile == layer->pixels ? layer->kernel : layer->shorter)(rows, sums, layer->weights);
    const int32_t *sum = sums;
    for (int32_t c = 0; c < channels; ++c) {
      for (int32_t p = 0; p < tile; ++p) {
        const int32_t at = (first + p) * channels + c;
        narrow_give(NARROW_INT32, *sum++, rounding, factors, per_channel ? c : 0, output, y, at);
      }
    }
  }
}

#endif
