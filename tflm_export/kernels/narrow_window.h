/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over images, for kernels that need their elements side by side. */
#ifndef NARROW_WINDOW_H
#define NARROW_WINDOW_H

#include "narrow_rescale.h"

/* Copies `bytes` bytes. Rows of windows are short: a call of memcpy would cost more than it copies. */
static NARROW_INLINE int8_t *narrow_copy(const int8_t *from, int32_t bytes, int8_t *to) {
#if defined(__ARM_FEATURE_UNALIGNED)
  for (; bytes >= 4; bytes -= 4, from += 4, to += 4) __builtin_memcpy(to, from, 4);
#endif
  for (const int8_t *const end = from + bytes; from < end;) *to++ = *from++;
  return to;
}

static NARROW_INLINE int8_t *narrow_fill(int8_t value, int32_t bytes, int8_t *to) {
  for (const int8_t *const end = to + bytes; to < end;) *to++ = value;
  return to;
}

/* Copies the window whose first element is at (top, left), which may be outside the image, to `patch`:
 * [kernel_height, kernel_width, input_channels], padding_value where it leaves the image. */
static NARROW_INLINE void narrow_gather(const narrow_window *window, const int8_t *image, int32_t top, int32_t left,
                                        int8_t *patch) {
  const int32_t channels = window->input_channels;
  const int32_t width = window->kernel_width;
  /* Taps before the image and behind it, where taps are neighbours. */
  const int32_t before = left >= 0 ? 0 : -left > width ? width : -left;
  const int32_t over = left + width - window->input_width;
  const int32_t behind = over <= 0 ? 0 : over > width - before ? width - before : over;
  int32_t y = top;
  for (int32_t ky = 0; ky < window->kernel_height; ++ky, y += window->dilation_height) {
    const int8_t *const row = image + y * window->input_width * channels;
    if (y < 0 || y >= window->input_height) {
      patch = narrow_fill(window->padding_value, width * channels, patch);
    } else if (window->dilation_width == 1) {
      patch = narrow_fill(window->padding_value, before * channels, patch);
      patch = narrow_copy(row + (left + before) * channels, (width - before - behind) * channels, patch);
      patch = narrow_fill(window->padding_value, behind * channels, patch);
    } else {
      for (int32_t kx = 0; kx < width; ++kx) {
        const int32_t x = left + kx * window->dilation_width;
        const int inside = x >= 0 && x < window->input_width;
        patch = inside ? narrow_copy(row + x * channels, channels, patch)
                       : narrow_fill(window->padding_value, channels, patch);
      }
    }
  }
}

/* Whether the window at (top, left) lies inside the image. */
static NARROW_INLINE int narrow_inside(const narrow_window *window, int32_t top, int32_t left) {
  return top >= 0 && left >= 0 &&
         top + (window->kernel_height - 1) * window->dilation_height < window->input_height &&
         left + (window->kernel_width - 1) * window->dilation_width < window->input_width;
}

/* All channels of one output pixel. taps: the first element of its window; row, column: bytes from there to the element
 * below it and to the one beside it. */
typedef void narrow_pixel(const narrow_window *window, const narrow_rescale *rescale, const void *weights,
                          const int8_t *taps, int32_t row, int32_t column, int8_t *output, narrow_end *end);

/* A layer, pixel by pixel. Windows that leave the image are read from `patch`, and, if `gathers`, so are all others. */
static NARROW_INLINE void narrow_each_window(const narrow_window *window, const narrow_rescale *rescale,
                                             const void *weights, const int8_t *input, int8_t *output, int8_t *patch,
                                             narrow_end *end, narrow_pixel *pixel, int gathers) {
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
        pixel(window, rescale, weights, taps, row, column, output, end);
        output += window->output_channels;
      }
    }
  }
}

#endif
