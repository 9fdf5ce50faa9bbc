/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_each_window.h"

/* The products of one window of one channel. column: from tap to tap; skip: from behind a row of taps to the next one;
 * step: from weight to weight. */
static NARROW_INLINE int32_t dot(int32_t height, int32_t width, const int8_t *x, int32_t column, int32_t skip,
                                 const int8_t *w, int32_t step, int32_t acc) {
  for (int32_t ky = 0; ky < height; ++ky, x += skip) {
    for (int32_t kx = 0; kx < width; ++kx, x += column, w += step) acc += *x * *w;
  }
  return acc;
}

static NARROW_INLINE void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                                       const int8_t *taps, int32_t row, int32_t column, int8_t *output,
                                       narrow_end end) {
  const int8_t *const w = (const int8_t *)weights;
  const int32_t height = window->kernel_height, width = window->kernel_width;
  const int32_t channels = window->output_channels;
  const int32_t skip = row - width * column;
  if (height == 3 && width == 3 && channels == window->input_channels) { /* the usual case, unrolled */
    for (int32_t c = 0; c < channels; ++c) {
      const int32_t sum = dot(3, 3, taps + c, column, skip, w + c, channels, rescale->start[c]);
      output[c] = narrow_finish(end, rescale, c, sum);
    }
    return;
  }
  const int32_t multiplier = channels / window->input_channels;
  int32_t c = 0;
  for (const int8_t *const last = taps + window->input_channels; taps < last; ++taps) {
    for (int32_t i = 0; i < multiplier; ++i, ++c) {
      const int32_t sum = dot(height, width, taps, column, skip, w + c, channels, rescale->start[c]);
      output[c] = narrow_finish(end, rescale, c, sum);
    }
  }
}

NARROW_DEFINE_ENDS(narrow_depthwise_conv_2d,
                   (const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                    const int8_t *input, int8_t *output, int8_t *patch),
                   narrow_each_window(window, rescale, weights, input, output, patch, end, 0))
