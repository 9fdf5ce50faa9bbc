/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dsp.h"
#include "narrow_each_window.h"

/* Four channels of one pixel. taps: the window's first element of these channels; row, column: distances of its taps.
 * weights: [taps, 2 words], int16 pairs of channels (0, 2) and (1, 3). */
static NARROW_INLINE const int32_t *four_channels(int32_t height, int32_t width, const int8_t *taps, int32_t row,
                                                  int32_t column, const int32_t *weights, int32_t acc[4]) {
  for (int32_t ky = 0; ky < height; ++ky, taps += row) {
    for (int32_t kx = 0; kx < width; ++kx, weights += 2) {
      const int32_t x = narrow_word(taps + kx * column);
      const int32_t even = narrow_even(x), odd = narrow_odd(x);
      acc[0] = narrow_mac_low(even, weights[0], acc[0]);
      acc[1] = narrow_mac_low(odd, weights[1], acc[1]);
      acc[2] = narrow_mac_high(even, weights[0], acc[2]);
      acc[3] = narrow_mac_high(odd, weights[1], acc[3]);
    }
  }
  return weights;
}

static NARROW_INLINE void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                                       const int8_t *taps, int32_t row, int32_t column, int8_t *output,
                                       narrow_end end) {
  const int32_t *w = (const int32_t *)weights;
  const int32_t height = window->kernel_height, width = window->kernel_width;
  for (int32_t c = 0; c < window->output_channels; c += 4, taps += 4) {
    const int32_t *start = rescale->start + c;
    int32_t acc[4] = {start[0], start[1], start[2], start[3]};
    /* The usual kernel, unrolled. */
    w = height == 3 && width == 3 ? four_channels(3, 3, taps, row, column, w, acc)
                                  : four_channels(height, width, taps, row, column, w, acc);
    output[c] = narrow_finish(end, rescale, c, acc[0]);
    output[c + 1] = narrow_finish(end, rescale, c + 1, acc[1]);
    output[c + 2] = narrow_finish(end, rescale, c + 2, acc[2]);
    output[c + 3] = narrow_finish(end, rescale, c + 3, acc[3]);
  }
}

NARROW_DEFINE_ENDS(narrow_depthwise_conv_2d_dsp,
                   (const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                    const int8_t *input, int8_t *output, int8_t *patch),
                   narrow_each_window(window, rescale, weights, input, output, patch, end, 0))
