/* SPDX-License-Identifier: Apache-2.0 */
/* Images at another size, [images, height, width, channels], by means of four neighbours. */
#ifndef NARROW_RESIZE_H
#define NARROW_RESIZE_H

#include "narrow_memory.h"
#include "narrow_types.h"

/* One side of the images.
 *
 * before, after: its sizes. low, high: the old elements beside each new one. */
typedef struct {
  int32_t before;
  int32_t after;
  const int32_t *low;
  const int32_t *high;
} narrow_side;

/* The four neighbours of a new element: their places, upper ones first, left ones first. */
typedef struct {
  int32_t at[4];
} narrow_corners;

/* Those of element (i, j) of an image, at channel 0. */
static NARROW_INLINE narrow_corners narrow_corners_of(const narrow_side *rows, const narrow_side *columns,
                                                      int32_t channels, int32_t image, int32_t i, int32_t j) {
  const int32_t upper = (image * rows->before + rows->low[i]) * columns->before;
  const int32_t lower = (image * rows->before + rows->high[i]) * columns->before;
  const narrow_corners corners = {{(upper + columns->low[j]) * channels, (upper + columns->high[j]) * channels,
                                   (lower + columns->low[j]) * channels, (lower + columns->high[j]) * channels}};
  return corners;
}

/* (a * left + b * right) * up + (c * left + d * right) * down over unit^2, halves away from zero, in 32 bits. */
static NARROW_INLINE int32_t narrow_mean_of_four(narrow_type type, const void *x, const narrow_corners *corners,
                                                 int32_t channel, int32_t down, int32_t right, int32_t unit) {
  int32_t v[4];
  for (int32_t i = 0; i < 4; ++i) v[i] = (int32_t)narrow_load(type, x, corners->at[i] + channel);
  const int32_t upper = v[0] * (unit - right) + v[1] * right, lower = v[2] * (unit - right) + v[3] * right;
  const int32_t total = upper * (unit - down) + lower * down;
  const uint32_t whole = (uint32_t)unit * (uint32_t)unit;
  const int32_t mean = (int32_t)(((total < 0 ? 0 - (uint32_t)total : (uint32_t)total) + whole / 2) / whole);
  return total < 0 ? -mean : mean;
}

/* The same in 64 bits. */
static NARROW_INLINE int64_t narrow_mean_of_four_wide(narrow_type type, const void *x, const narrow_corners *corners,
                                                      int32_t channel, int64_t down, int64_t right, int64_t unit) {
  int64_t v[4];
  for (int32_t i = 0; i < 4; ++i) v[i] = narrow_load(type, x, corners->at[i] + channel);
  const int64_t upper = v[0] * (unit - right) + v[1] * right, lower = v[2] * (unit - right) + v[3] * right;
  const int64_t total = upper * (unit - down) + lower * down;
  const uint64_t whole = (uint64_t)unit * (uint64_t)unit;
  const int64_t mean = (int64_t)(((total < 0 ? 0 - (uint64_t)total : (uint64_t)total) + whole / 2) / whole);
  return total < 0 ? -mean : mean;
}

/* Means in integers.
 *
 * type: of both images. is_wide: 0 where every product and sum takes 32 bits, else 64 do.
 * downs, rights: weights of the neighbours `high`; those of `low` are unit less that. unit: 2 or more. */
static NARROW_INLINE void narrow_resize(narrow_type type, int is_wide, int32_t images, int32_t channels,
                                        const narrow_side *rows, const narrow_side *columns, const int32_t *downs,
                                        const int32_t *rights, int32_t unit, const void *x, void *y) {
  int32_t to = 0;
  for (int32_t image = 0; image < images; ++image) {
    for (int32_t i = 0; i < rows->after; ++i) {
      for (int32_t j = 0; j < columns->after; ++j) {
        const narrow_corners corners = narrow_corners_of(rows, columns, channels, image, i, j);
        for (int32_t c = 0; c < channels; ++c, ++to) {
          narrow_store(type, y, to,
                       is_wide ? narrow_mean_of_four_wide(type, x, &corners, c, downs[i], rights[j], unit)
                               : narrow_mean_of_four(type, x, &corners, c, downs[i], rights[j], unit));
        }
      }
    }
  }
}

/* A float32 number as it is: no compiler sees beyond this, so that none merges, reorders or keeps more bits of what was
 * computed, whatever its flags. */
static NARROW_INLINE float narrow_float32(float x) {
#if NARROW_GNU
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  __asm__("" : "+r"(bits));
  memcpy(&x, &bits, sizeof x);
  return x;
#else
  volatile float kept = x;
  return kept;
#endif
}

/* Means in float32, one rounding an operation, in the order of LiteRT's kernel; then halves up.
 *
 * downs, rights: weights of the neighbours `high`; those of `low` are 1 less that. Means are within the type. */
static NARROW_INLINE void narrow_resize_float32(narrow_type type, int32_t images, int32_t channels,
                                                const narrow_side *rows, const narrow_side *columns,
                                                const float *downs, const float *rights, const void *x, void *y) {
  static const int32_t order[4] = {0, 2, 1, 3};
  int32_t to = 0;
  for (int32_t image = 0; image < images; ++image) {
    for (int32_t i = 0; i < rows->after; ++i) {
      for (int32_t j = 0; j < columns->after; ++j) {
        const narrow_corners corners = narrow_corners_of(rows, columns, channels, image, i, j);
        const float vertical[2] = {narrow_float32(1.0f - downs[i]), downs[i]};
        const float horizontal[2] = {narrow_float32(1.0f - rights[j]), rights[j]};
        for (int32_t c = 0; c < channels; ++c, ++to) {
          float total = 0.0f;
          for (int32_t k = 0; k < 4; ++k) {
            const float v = (float)narrow_load(type, x, corners.at[order[k]] + c);
            const float weighted = narrow_float32(v * vertical[order[k] >> 1]);
            total = narrow_float32(total + narrow_float32(weighted * horizontal[order[k] & 1]));
          }
          narrow_store(type, y, to, (int32_t)narrow_float32(total + 0.5f));
        }
      }
    }
  }
}

#endif
