/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over images, for pools: only what is inside the image counts. */
#ifndef NARROW_POOL_H
#define NARROW_POOL_H

#include "narrow_bytes.h"
#include "narrow_times.h"

/* The part of a window that is inside the image: the first element of its first pixel, its rows and columns of pixels, and
 * the distances from one row to the next, and from one pixel to the next, which is the number of channels. */
typedef struct {
  const int8_t *first;
  int32_t rows, columns, row, channels;
} narrow_pooled_part;

/* What divides by the number of elements of the last window; count: 0 before the first one. */
typedef struct {
  int32_t count;
  uint32_t reciprocal;
} narrow_divisor;

/* All channels of one output. The file that includes this one defines it. */
static NARROW_INLINE void narrow_pool(const narrow_pooled_part *part, narrow_divisor *divisor, int8_t *output);

static NARROW_INLINE int32_t narrow_larger(int32_t a, int32_t b) { return a > b ? a : b; }
static NARROW_INLINE int32_t narrow_smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static NARROW_INLINE void narrow_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  const int32_t channels = window->input_channels;
  const int32_t row = narrow_times(channels, window->input_width);
  narrow_divisor divisor = {0, 0};
  for (int32_t batch = 0; batch < window->batches; ++batch, input += narrow_times(row, window->input_height)) {
    for (int32_t y = 0; y < window->output_height; ++y) {
      const int32_t first_y = narrow_times(y, window->stride_height) - window->pad_top;
      const int32_t top = narrow_larger(first_y, 0);
      const int32_t rows = narrow_smaller(first_y + window->kernel_height, window->input_height) - top;
      for (int32_t x = 0; x < window->output_width; ++x, output += channels) {
        const int32_t first_x = narrow_times(x, window->stride_width) - window->pad_left;
        const int32_t left = narrow_larger(first_x, 0);
        const int32_t columns = narrow_smaller(first_x + window->kernel_width, window->input_width) - left;
        const int8_t *const first = input + narrow_times(row, top) + narrow_times(channels, left);
        const narrow_pooled_part part = {first, rows, columns, row, channels};
        narrow_pool(&part, &divisor, output);
      }
    }
  }
}

#endif
