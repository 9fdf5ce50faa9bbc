#include "narrow_window.h"

/* The products of one window of one channel. column: from tap to tap; skip: from behind a row of taps to the next one;
 * step: from weight to weight. */
static NARROW_INLINE int32_t dot(int32_t height, int32_t width, const int8_t *x, int32_t column, int32_t skip,
                                 const int8_t *w, int32_t step, int32_t acc) {
  for (int32_t ky = 0; ky < height; ++ky, x += skip) {
    for (int32_t kx = 0; kx < width; ++kx, x += column, w += step) acc += *x * *w;
  }
  return acc;
}

/* One output pixel. taps: the window's first element; row, column: distances of its taps. */
static NARROW_INLINE void depthwise_pixel(const narrow_window *window, const narrow_rescale *rescale,
                                          const int8_t *weights, const int8_t *taps, int32_t row, int32_t column,
                                          int8_t *output, narrow_end *end) {
  const int32_t height = window->kernel_height, width = window->kernel_width;
  const int32_t channels = window->output_channels;
  const int32_t skip = row - width * column;
  if (height == 3 && width == 3 && channels == window->input_channels) { /* the usual case, unrolled */
    for (int32_t c = 0; c < channels; ++c) {
      output[c] = end(rescale, c, dot(3, 3, taps + c, column, skip, weights + c, channels, rescale->start[c]));
    }
    return;
  }
  const int32_t multiplier = channels / window->input_channels;
  int32_t c = 0;
  for (const int8_t *const last = taps + window->input_channels; taps < last; ++taps) {
    for (int32_t i = 0; i < multiplier; ++i, ++c) {
      output[c] = end(rescale, c, dot(height, width, taps, column, skip, weights + c, channels, rescale->start[c]));
    }
  }
}

static NARROW_INLINE void depthwise_conv_2d(const narrow_window *window, const narrow_rescale *rescale,
                                            const int8_t *weights, const int8_t *input, int8_t *output, int8_t *patch,
                                            narrow_end *end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t depth = window->input_channels;
  const int32_t image = window->input_height * window->input_width * depth;
  const int32_t row = window->dilation_height * window->input_width * depth;
  const int32_t column = window->dilation_width * depth;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image) {
    int32_t top = -window->pad_top;
    for (int32_t y = 0; y < window->output_height; ++y, top += window->stride_height) {
      int32_t left = -window->pad_left;
      for (int32_t x = 0; x < window->output_width; ++x, left += window->stride_width) {
        if (narrow_inside(window, top, left)) {
          const int8_t *taps = input + (top * window->input_width + left) * depth;
          depthwise_pixel(window, rescale, weights, taps, row, column, output, end);
        } else {
          narrow_gather(window, input, top, left, patch);
          depthwise_pixel(window, rescale, weights, patch, window->kernel_width * depth, depth, output, end);
        }
        output += window->output_channels;
      }
    }
  }
}

void narrow_depthwise_conv_2d_shift(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                    const int8_t *input, int8_t *output, int8_t *patch) {
  depthwise_conv_2d(window, rescale, weights, input, output, patch, narrow_end_shift);
}

void narrow_depthwise_conv_2d_multiply(const narrow_window *window, const narrow_rescale *rescale,
                                       const int8_t *weights, const int8_t *input, int8_t *output, int8_t *patch) {
  depthwise_conv_2d(window, rescale, weights, input, output, patch, narrow_end_multiply);
}

void narrow_depthwise_conv_2d_wide(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                   const int8_t *input, int8_t *output, int8_t *patch) {
  depthwise_conv_2d(window, rescale, weights, input, output, patch, narrow_end_wide);
}

void narrow_depthwise_conv_2d_stock(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                    const int8_t *input, int8_t *output, int8_t *patch) {
  depthwise_conv_2d(window, rescale, weights, input, output, patch, narrow_end_stock);
}
