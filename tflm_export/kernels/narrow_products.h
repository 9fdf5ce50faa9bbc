/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of products of elements of 8 or 16 bits, and what becomes of such sums. */
#ifndef NARROW_PRODUCTS_H
#define NARROW_PRODUCTS_H

#include "narrow_types.h"

/* Elements of an array. at: place of the first one. step: from one to the next. zero_point: is subtracted from each. */
typedef struct {
  narrow_type type;
  int32_t zero_point;
  const void *array;
  int32_t at, step;
} narrow_elements;

static NARROW_INLINE int32_t narrow_centred(const narrow_elements *x, int32_t i) {
  return (int32_t)narrow_load(x->type, x->array, x->at + i * x->step) - x->zero_point;
}

/* The sum of `count` products of two arrays, of types of 8 or 16 bits.
 *
 * sum: NARROW_INT32, which wraps, or NARROW_INT64. Products then still fit 32 bits, where not both have 16 bits and one
 * of them a zero point. */
static NARROW_INLINE int64_t narrow_products(narrow_type sum, const narrow_elements *x, const narrow_elements *w,
                                             int32_t count) {
  if (sum == NARROW_INT32) {
    uint32_t total = 0;
    for (int32_t i = 0; i < count; ++i) total += (uint32_t)narrow_centred(x, i) * (uint32_t)narrow_centred(w, i);
    return (int32_t)total;
  }
  int64_t total = 0;
  if (x->type == NARROW_INT16 && w->type == NARROW_INT16 && (x->zero_point != 0 || w->zero_point != 0)) {
    for (int32_t i = 0; i < count; ++i) total += (int64_t)narrow_centred(x, i) * narrow_centred(w, i);
  } else {
    for (int32_t i = 0; i < count; ++i) total += narrow_centred(x, i) * narrow_centred(w, i);
  }
  return total;
}

/* An output: of which type, with which zero point, and between which limits, which the type holds. */
typedef struct {
  narrow_type type;
  int32_t zero_point, low, high;
} narrow_output;

/* y[i] = Zy + sum * factor c, clamped. sum_type: as for narrow_products. */
static NARROW_INLINE void narrow_give(narrow_type sum_type, int64_t sum, narrow_rounding rounding,
                                        const narrow_factors *factors, int32_t c, const narrow_output *output, void *y,
                                        int32_t i) {
  const int64_t zero_point = output->zero_point;
  const int64_t rescaled = narrow_apply(rounding, factors, c, sum_type == NARROW_INT32 ? narrow_wrap(sum) : sum);
  if (narrow_gives_32(rounding) && output->type <= NARROW_INT16) {
    const int32_t low = output->low - output->zero_point, high = output->high - output->zero_point;
    const int32_t value = (int32_t)rescaled;
    narrow_store(output->type, y, i, (value < low ? low : value > high ? high : value) + output->zero_point);
    return;
  }
  const int64_t offset = narrow_between(rescaled, output->low - zero_point, output->high - zero_point);
  narrow_store(output->type, y, i, offset + zero_point);
}

#endif
