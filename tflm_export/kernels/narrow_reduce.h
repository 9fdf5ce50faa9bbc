/* SPDX-License-Identifier: Apache-2.0 */
/* Many elements to one along axes, whichever they are. */
#ifndef NARROW_REDUCE_H
#define NARROW_REDUCE_H

#include "narrow_memory.h"
#include "narrow_places.h"
#include "narrow_types.h"

/* A reduction: the dimensions that stay, in the output's order, and those that it takes.
 *
 * outputs: how many elements stay. kept: how many dimensions, 0 or more; kept_sizes, kept_strides: of the input.
 * rows, columns, stride: elements that become one: columns of them every `stride` elements, in rows of their own.
 * taken: how many dimensions the rows have; taken_sizes, taken_strides: of the input. */
typedef struct {
  int32_t outputs;
  int32_t kept;
  const int32_t *kept_sizes;
  const int32_t *kept_strides;
  int32_t rows;
  int32_t columns;
  int32_t stride;
  int32_t taken;
  const int32_t *taken_sizes;
  const int32_t *taken_strides;
} narrow_reduction;

/* The first input element of output i. */
static NARROW_INLINE int32_t narrow_kept(const narrow_reduction *reduction, int32_t i) {
  return narrow_place(reduction->kept, reduction->kept_sizes, reduction->kept_strides, i);
}

/* The first element of a row, seen from the first element of an output. */
static NARROW_INLINE int32_t narrow_taken(const narrow_reduction *reduction, int32_t row) {
  return narrow_place(reduction->taken, reduction->taken_sizes, reduction->taken_strides, row);
}

/* The sum for output i. is_wide: whether it takes 64 bits. */
static NARROW_INLINE int64_t narrow_sum(narrow_type type, int is_wide, const narrow_reduction *reduction,
                                        const void *x, int32_t i) {
  const int32_t first = narrow_kept(reduction, i);
  int64_t wide = 0;
  int32_t sum = 0;
  for (int32_t row = 0; row < reduction->rows; ++row) {
    int32_t at = first + narrow_taken(reduction, row);
    for (int32_t column = 0; column < reduction->columns; ++column, at += reduction->stride) {
      if (is_wide) {
        wide += narrow_load(type, x, at);
      } else {
        sum += (int32_t)narrow_load(type, x, at);
      }
    }
  }
  return is_wide ? wide : sum;
}

/* y = floor((sum(x) * factor + start) / divisor), within low..high.
 *
 * divisor: positive. is_wide: 0 where the sums, the numerators and the divisor take 32 bits, else 64 do. */
static NARROW_INLINE void narrow_mean_of(narrow_type type, narrow_type to, int is_wide,
                                         const narrow_reduction *reduction, int64_t factor, int64_t start,
                                         int64_t divisor, int64_t low, int64_t high, const void *x, void *y) {
  for (int32_t i = 0; i < reduction->outputs; ++i) {
    const int64_t sum = narrow_sum(type, is_wide, reduction, x, i);
    int64_t quotient; /* rounded towards zero, until a negative one is less */
    if (is_wide) {
      const int64_t numerator = sum * factor + start, whole = numerator / divisor;
      quotient = whole - (whole * divisor > numerator);
    } else {
      const int32_t numerator = (int32_t)sum * (int32_t)factor + (int32_t)start, whole = numerator / (int32_t)divisor;
      quotient = whole - (whole * (int32_t)divisor > numerator);
    }
    narrow_store(to, y, i, narrow_between(quotient, low, high));
  }
}

/* y = zero_point + rescale(start + sum(x)), within low..high.
 *
 * start: less the input's zero point times the count. is_wide: 0 where the sums take 32 bits, else 64 do.
 * factors: one. */
static NARROW_INLINE void narrow_total_of(narrow_type type, narrow_type to, int is_wide, narrow_rounding rounding,
                                          const narrow_reduction *reduction, int64_t start,
                                          const narrow_factors *factors, int64_t zero_point, int64_t low,
                                          int64_t high, const void *x, void *y) {
  for (int32_t i = 0; i < reduction->outputs; ++i) {
    const int64_t sum = narrow_sum(type, is_wide, reduction, x, i) + start;
    narrow_store(to, y, i, narrow_between(narrow_apply(rounding, factors, 0, sum) + zero_point, low, high));
  }
}

/* Whether element a is larger, or smaller, than element b. is_real: elements are float, and none is NaN. */
static NARROW_INLINE int narrow_exceeds(narrow_type type, int is_real, int is_largest, const void *x, int32_t a,
                                        int32_t b) {
  if (is_real) {
    float p, q;
    memcpy(&p, (const uint8_t *)x + (size_t)a * sizeof p, sizeof p);
    memcpy(&q, (const uint8_t *)x + (size_t)b * sizeof q, sizeof q);
    return is_largest ? p > q : p < q;
  }
  if (type == NARROW_INT64) {
    const int64_t p = narrow_load(type, x, a), q = narrow_load(type, x, b);
    return is_largest ? p > q : p < q;
  }
  const int32_t p = (int32_t)narrow_load(type, x, a), q = (int32_t)narrow_load(type, x, b);
  return is_largest ? p > q : p < q;
}

/* The largest or the smallest element; both sides are of one type. */
static NARROW_INLINE void narrow_extreme(narrow_type type, int is_largest, const narrow_reduction *reduction,
                                         const void *x, void *y) {
  for (int32_t i = 0; i < reduction->outputs; ++i) {
    const int32_t first = narrow_kept(reduction, i);
    int32_t best = first;
    for (int32_t row = 0; row < reduction->rows; ++row) {
      int32_t at = first + narrow_taken(reduction, row);
      for (int32_t column = 0; column < reduction->columns; ++column, at += reduction->stride) {
        if (narrow_exceeds(type, 0, is_largest, x, at, best)) best = at;
      }
    }
    narrow_store(type, y, i, narrow_load(type, x, best));
  }
}

/* Where along one axis (one row) the largest or the smallest element stands, the first of equals. */
static NARROW_INLINE void narrow_position(narrow_type type, int is_real, narrow_type to, int is_largest,
                                          const narrow_reduction *reduction, const void *x, void *y) {
  for (int32_t i = 0; i < reduction->outputs; ++i) {
    const int32_t first = narrow_kept(reduction, i);
    int32_t best = 0;
    for (int32_t column = 1; column < reduction->columns; ++column) {
      const int32_t at = first + column * reduction->stride;
      if (narrow_exceeds(type, is_real, is_largest, x, at, first + best * reduction->stride)) best = column;
    }
    narrow_store(to, y, i, best);
  }
}

#endif
