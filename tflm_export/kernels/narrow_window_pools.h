/* SPDX-License-Identifier: Apache-2.0 */
/* Mean and maximum of windows, of types of 8 and 16 bits: the forms AveragePool and MaxPool. */
#ifndef NARROW_WINDOW_POOLS_H
#define NARROW_WINDOW_POOLS_H

#include "narrow_axis.h"
#include "narrow_types.h"

/* Images [images, height, width, channels] under windows. */
typedef struct {
  int32_t images, channels;
  narrow_axis height, width;
} narrow_pooled;

/* One output of a pool: of channel `at` of the image that x is, from what its window has inside the image. */
static NARROW_INLINE int32_t narrow_pool_window(int is_mean, narrow_type type, const narrow_pooled *windows,
                                                const narrow_taps *rows, const narrow_taps *columns, const void *x,
                                                int32_t at) {
  const int32_t next_column = windows->width.element_step * windows->channels;
  const int32_t next_row = windows->height.element_step * windows->width.size * windows->channels;
  int32_t result = is_mean ? 0 : type == NARROW_INT8 ? -128 : type == NARROW_UINT8 ? 0 : -32768;
  at += (rows->element * windows->width.size + columns->element) * windows->channels;
  for (int32_t i = 0; i < rows->count; ++i, at += next_row) {
    int32_t element = at;
    for (int32_t j = 0; j < columns->count; ++j, element += next_column) {
      const int32_t value = (int32_t)narrow_load(type, x, element);
      result = is_mean ? result + value : value > result ? value : result;
    }
  }
  if (!is_mean) return result;
  const int32_t count = rows->count * columns->count;
  return (result > 0 ? result + count / 2 : result - count / 2) / count; /* halves away from zero */
}

/* y = mean, halves away from zero, or maximum of each window's part inside the image, clamped.
 *
 * type, y_type: 8 or 16 bits. Windows of a mean have at least one element inside, and sums that fit 32 bits. */
static NARROW_INLINE void narrow_pool_windows(int is_mean, narrow_type type, narrow_type y_type,
                                              const narrow_pooled *windows, int32_t low, int32_t high, const void *x,
                                              void *y) {
  const int32_t image = windows->height.size * windows->width.size * windows->channels;
  int32_t at = 0;
  for (int32_t i = 0; i < windows->images; ++i) {
    for (int32_t row = 0; row < windows->height.output; ++row) {
      const narrow_taps rows = narrow_taps_of(&windows->height, row);
      for (int32_t column = 0; column < windows->width.output; ++column) {
        const narrow_taps columns = narrow_taps_of(&windows->width, column);
        for (int32_t c = 0; c < windows->channels; ++c, ++at) {
          const int32_t value = narrow_pool_window(is_mean, type, windows, &rows, &columns, x, i * image + c);
          narrow_store(y_type, y, at, narrow_between(value, low, high));
        }
      }
    }
  }
}

#endif
