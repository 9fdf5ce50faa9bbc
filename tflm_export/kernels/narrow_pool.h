/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over images, for pools: only what is inside the image counts. */
#ifndef NARROW_POOL_H
#define NARROW_POOL_H

#include "narrow_rescale.h"

/* One output from `rows` rows of `columns` elements; `next` and `row` are the distances between them. The file that
 * includes this one defines it. */
static NARROW_INLINE int8_t narrow_pool(const int8_t *first, int32_t rows, int32_t columns, int32_t row, int32_t next);

static NARROW_INLINE int32_t narrow_larger(int32_t a, int32_t b) { return a > b ? a : b; }
static NARROW_INLINE int32_t narrow_smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static NARROW_INLINE void narrow_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  const int32_t channels = window->input_channels;
  const int32_t row = window->input_width * channels;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += window->input_height * row) {
    for (int32_t y = 0; y < window->output_height; ++y) {
      const int32_t first_y = y * window->stride_height - window->pad_top;
      const int32_t top = narrow_larger(first_y, 0);
      const int32_t rows = narrow_smaller(first_y + window->kernel_height, window->input_height) - top;
      for (int32_t x = 0; x < window->output_width; ++x) {
        const int32_t first_x = x * window->stride_width - window->pad_left;
        const int32_t left = narrow_larger(first_x, 0);
        const int32_t columns = narrow_smaller(first_x + window->kernel_width, window->input_width) - left;
        const int8_t *first = input + top * row + left * channels;
        for (int32_t c = 0; c < channels; ++c) *output++ = narrow_pool(first++, rows, columns, row, channels);
      }
    }
  }
}

#endif
