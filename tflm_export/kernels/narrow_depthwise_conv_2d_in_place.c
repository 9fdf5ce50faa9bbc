/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dsp.h"
#include "narrow_each_window.h"
#include "narrow_in_place.h"

/* Four channels of one pixel. taps: the window's first element of these channels; row, column: distances of its taps.
 * weights: the first one of these channels; step: from tap to tap. */
static NARROW_INLINE void four_channels(int32_t height, int32_t width, const int8_t *taps, int32_t row, int32_t column,
                                        const int8_t *weights, int32_t step, int32_t acc[4]) {
  for (int32_t ky = 0; ky < height; ++ky, taps += row) {
    const int8_t *tap = taps;
    for (int32_t kx = 0; kx < width; ++kx, tap += column, weights += step) {
      const int32_t x = narrow_word(tap), w = narrow_word(weights);
      const int32_t even = narrow_even(x), odd = narrow_odd(x);
      const int32_t even_weights = narrow_even(w), odd_weights = narrow_odd(w);
      acc[0] = narrow_mac_low(even, even_weights, acc[0]);
      acc[1] = narrow_mac_low(odd, odd_weights, acc[1]);
      acc[2] = narrow_mac_high(even, even_weights, acc[2]);
      acc[3] = narrow_mac_high(odd, odd_weights, acc[3]);
    }
  }
}

static NARROW_INLINE void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                                       const int8_t *taps, int32_t row, int32_t column, int8_t *output,
                                       narrow_end end) {
  const int8_t *const w = (const int8_t *)weights;
  const int32_t height = window->kernel_height, width = window->kernel_width, channels = window->output_channels;
  for (int32_t c = 0; c < channels; c += 4) {
    const int32_t *start = rescale->start + c;
    int32_t acc[4] = {start[0], start[1], start[2], start[3]};
    if (height == 3 && width == 3) { /* the usual kernel, unrolled */
      four_channels(3, 3, taps + c, row, column, w + c, channels, acc);
    } else {
      four_channels(height, width, taps + c, row, column, w + c, channels, acc);
    }
    output[c] = narrow_finish(end, rescale, c, acc[0]);
    output[c + 1] = narrow_finish(end, rescale, c + 1, acc[1]);
    output[c + 2] = narrow_finish(end, rescale, c + 2, acc[2]);
    output[c + 3] = narrow_finish(end, rescale, c + 3, acc[3]);
  }
}

NARROW_DEFINE_ENDS(narrow_depthwise_conv_2d_in_place,
                   (const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                    const int8_t *input, int8_t *output, int8_t *patch),
                   narrow_each_window(window, rescale, weights, input, output, patch, end, 0))
