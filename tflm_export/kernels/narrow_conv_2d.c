#include "narrow_dot.h"
#include "narrow_window.h"

static NARROW_INLINE void conv_2d(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                  const int8_t *input, int8_t *output, int8_t *patch, narrow_end *end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t image = window->input_height * window->input_width * window->input_channels;
  const int32_t depth = window->kernel_height * window->kernel_width * window->input_channels;
  const int32_t channels = window->output_channels;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image) {
    int32_t top = -window->pad_top;
    for (int32_t y = 0; y < window->output_height; ++y, top += window->stride_height) {
      int32_t left = -window->pad_left;
      for (int32_t x = 0; x < window->output_width; ++x, left += window->stride_width) {
        narrow_gather(window, input, top, left, patch);
        narrow_dot(depth, channels, rescale, weights, patch, output, end);
        output += channels;
      }
    }
  }
}

void narrow_conv_2d_shift(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                          const int8_t *input, int8_t *output, int8_t *patch) {
  conv_2d(window, rescale, weights, input, output, patch, narrow_end_shift);
}

void narrow_conv_2d_multiply(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                             const int8_t *input, int8_t *output, int8_t *patch) {
  conv_2d(window, rescale, weights, input, output, patch, narrow_end_multiply);
}

void narrow_conv_2d_wide(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                         const int8_t *input, int8_t *output, int8_t *patch) {
  conv_2d(window, rescale, weights, input, output, patch, narrow_end_wide);
}

void narrow_conv_2d_stock(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                          const int8_t *input, int8_t *output, int8_t *patch) {
  conv_2d(window, rescale, weights, input, output, patch, narrow_end_stock);
}
