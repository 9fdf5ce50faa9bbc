/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over images, for kernels that need their elements side by side. */
#ifndef NARROW_WINDOW_H
#define NARROW_WINDOW_H

#include "narrow_bytes.h"
#include "narrow_rescale.h"

/* Copies `bytes` bytes. Rows of windows are short: a call of memcpy would cost more than it copies. */
static NARROW_INLINE int8_t *narrow_copy(const int8_t *from, int32_t bytes, int8_t *to) {
#if NARROW_GNU && defined(__ARM_FEATURE_UNALIGNED)
  for (; bytes >= 4; bytes -= 4, from += 4, to += 4) __builtin_memcpy(to, from, 4);
#endif
  for (const int8_t *const end = from + bytes; from < end;) *to++ = *from++;
  return to;
}

/* The same of elements of `size` bytes, 1 or 2, which are aligned to it. */
static NARROW_INLINE int8_t *narrow_copy_of(int32_t size, const int8_t *from, int32_t bytes, int8_t *to) {
#if NARROW_GNU && !defined(__ARM_FEATURE_UNALIGNED)
  if (size == 2) {
    if (narrow_are_words(from, to)) {
      for (; bytes >= 4; bytes -= 4, from += 4, to += 4) narrow_set_four(to, narrow_get_four(from));
    }
    for (; bytes > 0; bytes -= 2, from += 2, to += 2) {
      __builtin_memcpy(__builtin_assume_aligned(to, 2), __builtin_assume_aligned(from, 2), 2);
    }
    return to;
  }
#else
  (void)size;
#endif
  return narrow_copy(from, bytes, to);
}

static NARROW_INLINE int8_t *narrow_fill(int8_t value, int32_t bytes, int8_t *to) {
  for (const int8_t *const end = to + bytes; to < end;) *to++ = value;
  return to;
}

/* Copies the window whose first element is at (top, left), which may be outside the image, to `patch`:
 * [kernel_height, kernel_width, input_channels], padding_value where it leaves the image.
 *
 * size: of elements, bytes, 1 or 2; channels of more than one byte count as several. */
static NARROW_INLINE void narrow_gather_of(int32_t size, const narrow_window *window, const int8_t *image, int32_t top,
                                           int32_t left, int8_t *patch) {
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
      patch = narrow_copy_of(size, row + (left + before) * channels, (width - before - behind) * channels, patch);
      patch = narrow_fill(window->padding_value, behind * channels, patch);
    } else {
      for (int32_t kx = 0; kx < width; ++kx) {
        const int32_t x = left + kx * window->dilation_width;
        const int inside = x >= 0 && x < window->input_width;
        patch = inside ? narrow_copy_of(size, row + x * channels, channels, patch)
                       : narrow_fill(window->padding_value, channels, patch);
      }
    }
  }
}

static NARROW_INLINE void narrow_gather(const narrow_window *window, const int8_t *image, int32_t top, int32_t left,
                                        int8_t *patch) {
  narrow_gather_of(1, window, image, top, left, patch);
}

/* Whether the window at (top, left) lies inside the image. */
static NARROW_INLINE int narrow_inside(const narrow_window *window, int32_t top, int32_t left) {
  return top >= 0 && left >= 0 &&
         top + (window->kernel_height - 1) * window->dilation_height < window->input_height &&
         left + (window->kernel_width - 1) * window->dilation_width < window->input_width;
}

#endif
