#include "narrow_rescale.h"

static NARROW_INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
static NARROW_INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

void narrow_average_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  const int32_t channels = window->input_channels;
  const int32_t width = window->input_width;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += window->input_height * width * channels) {
    for (int32_t y = 0; y < window->output_height; ++y) {
      const int32_t first_y = y * window->stride_height - window->pad_top;
      const int32_t top = larger(first_y, 0);
      const int32_t bottom = smaller(first_y + window->kernel_height, window->input_height);
      for (int32_t x = 0; x < window->output_width; ++x) {
        const int32_t first_x = x * window->stride_width - window->pad_left;
        const int32_t left = larger(first_x, 0);
        const int32_t right = smaller(first_x + window->kernel_width, width);
        const int32_t count = (bottom - top) * (right - left);
        for (int32_t c = 0; c < channels; ++c) {
          int32_t sum = 0;
          for (int32_t iy = top; iy < bottom; ++iy) {
            const int8_t *element = input + (iy * width + left) * channels + c;
            for (int32_t ix = left; ix < right; ++ix, element += channels) sum += *element;
          }
          /* C's division truncates, so half the count with the sum's sign rounds halves away from zero. */
          *output++ = (int8_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);
        }
      }
    }
  }
}
