/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of an image as rows of a plane: as int16, or as words x[i] + 2^16 * x[i + lane]. */
#ifndef NARROW_PLANE_ROWS_H
#define NARROW_PLANE_ROWS_H

#include <stdint.h>

#include "narrow_compiler.h"

/* Widens `count` elements that are `step` bytes apart. */
static NARROW_INLINE void narrow_widen_row(const int8_t *from, int32_t step, int32_t count, int16_t *to) {
  for (; count > 3; count -= 4, from += 4 * step, to += 4) {
    const int16_t a = from[0], b = from[step], c = from[2 * step], d = from[3 * step];
    to[0] = a; /* behind all loads, which it might alias */
    NARROW_STORES_APART;
    to[1] = b;
    NARROW_STORES_APART;
    to[2] = c;
    NARROW_STORES_APART;
    to[3] = d;
  }
  for (; count > 0; --count, from += step) *to++ = *from;
}

/* One row of a plane as words, at stride 1. line: the row with its padding, and two elements more than words. */
static NARROW_INLINE void narrow_pair_row_1(const int8_t *line, int32_t words, int32_t *to) {
  int32_t a = line[0], b = line[1];
  line += 2;
  for (int32_t i = 0; i < words; i += 2, line += 2) { /* an odd number of words writes one more */
    const int32_t c = line[0], d = line[1];
    *to++ = a + c * (1 << 16);
    *to++ = b + d * (1 << 16);
    a = c;
    b = d;
  }
}

/* The same at stride 2: three words for every four elements. */
static NARROW_INLINE void narrow_pair_row_2(const int8_t *line, int32_t words, int32_t *to) {
  int32_t first = line[0];
  for (const int32_t *const last = to + words; to < last; line += 4) {
    const int32_t third = line[2], fifth = line[4];
    *to++ = first + third * (1 << 16);
    *to++ = line[1] + line[3] * (1 << 16);
    *to++ = third + fifth * (1 << 16);
    first = fifth;
  }
}

/* Row of a plane that is stored as such, at stride 1, as words: `left` (0 or 1) elements of padding, `width` of the row,
 * padding behind it. */
static NARROW_INLINE void narrow_pair_whole_row(const int8_t *from, int32_t width, int32_t left, int32_t padding,
                                                int32_t words, int32_t *to) {
  const int32_t *const end = to + words;
  const int8_t *const behind = from + width;
  int32_t a = left != 0 ? padding : *from++;
  int32_t b = from < behind ? *from++ : padding;
  for (; from + 1 < behind && to + 1 < end; from += 2, to += 2) {
    const int32_t c = from[0], d = from[1];
    to[0] = a + c * (1 << 16);
    to[1] = b + d * (1 << 16);
    a = c;
    b = d;
  }
  for (; to < end; ++to) {
    const int32_t c = from < behind ? *from++ : padding;
    *to = a + c * (1 << 16);
    a = b;
    b = c;
  }
}

/* The same at stride 2: three words for every four elements. */
static NARROW_INLINE void narrow_pair_whole_row_2(const int8_t *row, int32_t width, int32_t left, int32_t padding,
                                                  int32_t words, int32_t *to) {
  const int32_t *const end = to + words;
  for (int32_t start = -left; to < end; start += 4, to += 3) {
    const int8_t *from = row;
    int8_t edge[5];
    if (start >= 0 && start + 4 < width) {
      from += start;
    } else {
      for (int32_t i = 0; i < 5; ++i) {
        const int32_t at = start + i;
        edge[i] = at >= 0 && at < width ? row[at] : (int8_t)padding;
      }
      from = edge;
    }
    const int32_t middle = from[2];
    to[0] = from[0] + middle * (1 << 16);
    to[1] = from[1] + from[3] * (1 << 16);
    to[2] = middle + from[4] * (1 << 16);
  }
}

/* Any lane. */
static NARROW_INLINE void narrow_pair_any_row(const int8_t *line, int32_t lane, int32_t words, int32_t *to) {
  for (int32_t i = 0; i < words; ++i) to[i] = line[i] + line[i + lane] * (1 << 16);
}

#endif
