/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROW_SOFTMAX_H
#define NARROW_SOFTMAX_H

#include "narrow_fixed_point.h"
#include "narrow_types.h"

#define NARROW_SOFTMAX_SUM_BITS 12 /* integer bits of the sum of exponentials */

/* Softmax over the last axis, [rows, depth], bit for bit that of the stock runtimes: narrow_softmax for more types, and
 * for more classes.
 *
 * from, to: int8 to int8, uint8 to uint8 (output scale 1/256) or int8 to int16 (1/65536); the output's zero point is the
 *   smallest integer of its type.
 * exponentials: exp(-d * beta * Sx) in 0..2^31 - 1 for d = 0..length - 1; 0 beyond.
 * length: 1..256. depth: 1..8191, whose sum 32 bits hold. */
static NARROW_INLINE void narrow_softmax_rows(narrow_type from, narrow_type to, int32_t rows, int32_t depth,
                                              int32_t length, const int32_t *exponentials, const void *x, void *y) {
  const int32_t lowest = to == NARROW_UINT8 ? 0 : to == NARROW_INT8 ? -128 : -32768;
  const int32_t highest = to == NARROW_UINT8 ? 255 : to == NARROW_INT8 ? 127 : 32767;
  for (int32_t row = 0, first = 0; row < rows; ++row, first += depth) {
    int32_t largest = from == NARROW_UINT8 ? 0 : -128;
    for (int32_t i = first; i < first + depth; ++i) {
      const int32_t value = (int32_t)narrow_load(from, x, i);
      largest = value > largest ? value : largest;
    }

    uint32_t sum = 0;
    for (int32_t i = first; i < first + depth; ++i) {
      const int32_t difference = largest - (int32_t)narrow_load(from, x, i);
      if (difference < length) {
        sum += (uint32_t)narrow_rounding_divide_by_pot(exponentials[difference], NARROW_SOFTMAX_SUM_BITS);
      }
    }

    /* sum = (1 + a) * 2^(31 - headroom): the largest input alone makes it 2^19. */
    const int32_t headroom = narrow_leading_zeros(sum);
    const int32_t inverse = narrow_one_over_one_plus((int32_t)((sum << headroom) - 0x80000000u));
    const int32_t exponent = NARROW_SOFTMAX_SUM_BITS - headroom + 31 - (to == NARROW_INT16 ? 16 : 8);

    for (int32_t i = first; i < first + depth; ++i) {
      const int32_t difference = largest - (int32_t)narrow_load(from, x, i);
      int32_t share = lowest;
      if (difference < length && exponent < 32) { /* beyond that, every share rounds to 0 */
        share += narrow_rounding_divide_by_pot(narrow_multiply_q0(inverse, exponentials[difference]), exponent);
      }
      narrow_store(to, y, i, share > highest ? highest : share);
    }
  }
}

/* Linear interpolation in a table [513] over -32768..32767. */
static NARROW_INLINE int32_t narrow_interpolated_513(const int16_t *table, int32_t x) {
  const int32_t i = 256 + (x >> 7);
  return table[i] + (((table[i + 1] - table[i]) * (x & 127) + 64) >> 7);
}

/* Softmax of int16, [rows, depth], bit for bit that of the stock runtimes: output in units of 2^-15.
 *
 * rescale: of differences to the row's largest integer, to units of the exponential's table.
 * exponential: exp on [-10, 0]; reciprocal: 1 / (1 + x) on [0, 1]. Both [513], in units of 2^-15, 0..32767.
 * depth: 1..65538, whose sum 31 bits hold. */
static NARROW_INLINE void narrow_softmax_int16(narrow_rounding rounding, int32_t rows, int32_t depth,
                                               const narrow_factors *rescale, const int16_t *exponential,
                                               const int16_t *reciprocal, const void *input, void *output) {
  const narrow_int16 *x = (const narrow_int16 *)input;
  narrow_int16 *y = (narrow_int16 *)output;
  for (int32_t row = 0; row < rows; ++row, x += depth, y += depth) {
    int32_t largest = x[0];
    for (int32_t i = 1; i < depth; ++i) largest = x[i] > largest ? x[i] : largest;

    uint32_t sum = 0;
    for (int32_t i = 0; i < depth; ++i) {
      const int64_t difference = narrow_apply(rounding, rescale, 0, x[i] - largest);
      const int32_t place = (int32_t)narrow_between(difference + 32767, -32768, 32767);
      const int32_t share = narrow_interpolated_513(exponential, place);
      sum += (uint32_t)share;
      y[i] = (int16_t)share;
    }

    const int32_t headroom = narrow_leading_zeros(sum);
    const int32_t mantissa = (int32_t)(((sum << (headroom - 1)) + (1u << 13)) >> 14); /* 2^16..2^17 */
    const int32_t place = mantissa - (1 << 15) - (1 << 16);
    const int32_t inverse = narrow_interpolated_513(reciprocal, place > 32767 ? 32767 : place);
    const int32_t shift = 31 - headroom;
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t share = (y[i] * inverse + ((1 << shift) >> 1)) >> shift;
      y[i] = (int16_t)(share > 32767 ? 32767 : share);
    }
  }
}

/* Logarithms of softmax of int8, [rows, depth], bit for bit those of the stock runtimes: output scale 1/16, zero point
 * 127.
 *
 * exponentials: exp(-d * Sx) in units of 2^-19 for d = 0..length - 1; 0 beyond. length: 1..256.
 * rescale: of differences, to integers with `unit` fraction bits; back: from there.
 * unit: 3..26; shift: from there to the output, 1..31. depth: 1..4095, whose sum 31 bits hold. */
static NARROW_INLINE void narrow_log_softmax(narrow_rounding rounding, narrow_rounding back_rounding, int32_t rows,
                                             int32_t depth, int32_t length, const int32_t *exponentials,
                                             const narrow_factors *rescale, const narrow_factors *back, int32_t unit,
                                             int32_t shift, const int8_t *x, int8_t *y) {
  for (int32_t row = 0; row < rows; ++row, x += depth, y += depth) {
    int32_t largest = x[0], sum = 0;
    for (int32_t i = 1; i < depth; ++i) largest = x[i] > largest ? x[i] : largest;
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t difference = largest - x[i];
      if (difference < length) sum += exponentials[difference];
    }
    const int32_t logarithm = narrow_log(sum, NARROW_SOFTMAX_SUM_BITS, 31 - unit);
    const int64_t least = narrow_apply(back_rounding, back, 0, logarithm + INT32_MIN);
    const int64_t lowest = least > -length ? least : -length;
    for (int32_t i = 0; i < depth; ++i) {
      const int32_t difference = x[i] - largest;
      int64_t result = -128;
      if (difference > lowest) {
        result = narrow_apply(rounding, rescale, 0, difference) - logarithm;
        result = (((result + (result < 0 ? -1 : 0)) >> (shift - 1)) + 1) >> 1; /* halves away from zero */
        result = narrow_between(result + 127, -128, 127);
      }
      y[i] = (int8_t)result;
    }
  }
}

#endif
