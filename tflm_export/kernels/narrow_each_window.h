/* SPDX-License-Identifier: Apache-2.0 */
/* A layer as a loop over its windows, for a file that says what one of them gives. */
#ifndef NARROW_EACH_WINDOW_H
#define NARROW_EACH_WINDOW_H

#include "narrow_window.h"

/* All channels of one output pixel; the file that includes this one defines it.
 *
 * taps: the first element of its window; row, column: bytes from there to the element below it and to the one beside
 * it. */
static NARROW_INLINE void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                                       const int8_t *taps, int32_t row, int32_t column, int8_t *output,
                                       narrow_end end);

/* A layer, pixel by pixel. Windows that leave the image are read from `patch`, and, if `gathers`, so are all others. */
static NARROW_INLINE void narrow_each_window(const narrow_window *window, const narrow_rescale *rescale,
                                             const void *weights, const int8_t *input, int8_t *output, int8_t *patch,
                                             narrow_end end, int gathers) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t depth = window->input_channels;
  const int32_t image = window->input_height * window->input_width * depth;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image) {
    int32_t top = -window->pad_top;
    for (int32_t y = 0; y < window->output_height; ++y, top += window->stride_height) {
      int32_t left = -window->pad_left;
      for (int32_t x = 0; x < window->output_width; ++x, left += window->stride_width) {
        const int8_t *taps = input + (top * window->input_width + left) * depth;
        int32_t row = window->dilation_height * window->input_width * depth;
        int32_t column = window->dilation_width * depth;
        if (gathers || !narrow_inside(window, top, left)) {
          narrow_gather(window, input, top, left, patch);
          taps = patch;
          row = window->kernel_width * depth;
          column = depth;
        }
        narrow_pixel(window, rescale, weights, taps, row, column, output, end);
        output += window->output_channels;
      }
    }
  }
}

#endif
