/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dot.h"
#include "narrow_each_window.h"

static NARROW_INLINE void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                                       const int8_t *taps, int32_t row, int32_t column, int8_t *output,
                                       narrow_end end) {
  (void)row;
  (void)column; /* all elements are side by side */
  const int32_t depth = window->kernel_height * window->kernel_width * window->input_channels;
  narrow_dot(depth, window->output_channels, rescale, (const int8_t *)weights, taps, output, end);
}

NARROW_DEFINE_ENDS(narrow_conv_2d,
                   (const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                    const int8_t *input, int8_t *output, int8_t *patch),
                   narrow_each_window(window, rescale, weights, input, output, patch, end, 1))
