/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of products of elements of 8 or 16 bits, and what becomes of such sums. */
#ifndef NARROW_PRODUCTS_H
#define NARROW_PRODUCTS_H

#include <stddef.h>

#include "narrow_dsp.h"
#include "narrow_types.h"

/* Whether products are computed in pairs: where an instruction does, or to test that. */
#ifndef NARROW_PAIRED_PRODUCTS
#define NARROW_PAIRED_PRODUCTS NARROW_DSP
#endif

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

/* Whether elements lie side by side and fit pairs of int16 without their zero point, which has 8 bits. */
static NARROW_INLINE int narrow_has_pairs(const narrow_elements *x) {
  return x->step == 1 && (x->type <= NARROW_UINT8 || (x->type == NARROW_INT16 && x->zero_point == 0));
}

/* Elements i to i + 3 without their zero point as two pairs of int16, (0, 2) and (1, 3); of those with 16 bits, if
 * `ordered`, (0, 1) and (2, 3), as of the others then. */
static NARROW_INLINE void narrow_two_pairs(const narrow_elements *x, int32_t i, int ordered, int32_t *first,
                                           int32_t *second) {
  const int32_t at = x->at + i;
  if (x->type == NARROW_INT16) {
    const int8_t *from = (const int8_t *)x->array + 2 * (ptrdiff_t)at;
    *first = narrow_word(from);
    *second = narrow_word(from + 4);
    return;
  }
  const int32_t word = narrow_word((const int8_t *)x->array + at), zero = x->zero_point;
  int32_t even = narrow_even(word), odd = narrow_odd(word);
  if (x->type == NARROW_UINT8) {
    even = word & 0x00ff00ff;
    odd = (int32_t)((uint32_t)word >> 8) & 0x00ff00ff;
  }
  if (zero != 0) {
    const int32_t zeros = narrow_both(zero);
    even = narrow_less2(even, zeros);
    odd = narrow_less2(odd, zeros);
  }
  *first = ordered ? narrow_low_halves(even, odd) : even;
  *second = ordered ? narrow_high_halves(even, odd) : odd;
}

/* The sum of products below in pairs, which wraps. */
static NARROW_INLINE int32_t narrow_paired_products(const narrow_elements *x, const narrow_elements *w, int32_t count) {
  const int ordered = x->type == NARROW_INT16 || w->type == NARROW_INT16;
  int32_t total = 0, i = 0;
  for (; i + 4 <= count; i += 4) {
    int32_t a, b, p, q;
    narrow_two_pairs(x, i, ordered, &a, &b);
    narrow_two_pairs(w, i, ordered, &p, &q);
    total = narrow_mac2(b, q, narrow_mac2(a, p, total));
  }
  uint32_t rest = (uint32_t)total;
  for (int32_t left = count & 3; left > 0; --left, ++i) { /* so counted, compilers see that it is short */
    rest += (uint32_t)narrow_centred(x, i) * (uint32_t)narrow_centred(w, i);
  }
  return (int32_t)rest;
}

/* The sum of `count` products of two arrays, of types of 8 or 16 bits.
 *
 * sum: NARROW_INT32, which wraps, or NARROW_INT64. Products then still fit 32 bits, where not both have 16 bits and one
 * of them a zero point. */
static NARROW_INLINE int64_t narrow_products(narrow_type sum, const narrow_elements *x, const narrow_elements *w,
                                             int32_t count) {
  if (sum == NARROW_INT32) {
    if (NARROW_PAIRED_PRODUCTS && narrow_has_pairs(x) && narrow_has_pairs(w)) {
      return narrow_paired_products(x, w, count);
    }
    uint32_t total = 0;
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
      total += (uint32_t)narrow_centred(x, i) * (uint32_t)narrow_centred(w, i);
      total += (uint32_t)narrow_centred(x, i + 1) * (uint32_t)narrow_centred(w, i + 1);
      total += (uint32_t)narrow_centred(x, i + 2) * (uint32_t)narrow_centred(w, i + 2);
      total += (uint32_t)narrow_centred(x, i + 3) * (uint32_t)narrow_centred(w, i + 3);
    }
    for (int32_t left = count & 3; left > 0; --left, ++i) {
      total += (uint32_t)narrow_centred(x, i) * (uint32_t)narrow_centred(w, i);
    }
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
