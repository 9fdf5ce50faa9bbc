/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_pool.h"

#define NARROW_BITS 23
#define NARROW_MOST 181 /* elements whose mean a reciprocal gives, see below */

/* The mean of `count` bytes without a sign from their sum, rounded, halves away from 128.
 *
 * n / count is n * ceil(2^23 / count) >> 23, which is too large by less than n / 2^23: not even the next integer while
 * n * count <= 2^23. n is up to 256 * count, and its product below 2^32. */
static NARROW_INLINE uint32_t narrow_mean_of(uint32_t sum, uint32_t count, uint32_t reciprocal) {
  const uint32_t half = count / 2;
  return ((sum + (sum < 128 * count ? count - 1 - half : half)) * reciprocal) >> NARROW_BITS;
}

/* Bytes 0 and 2, 1 and 3 of four channels as two sums of 16 bits each. */
typedef struct {
  uint32_t even, odd;
} narrow_sums;

static NARROW_INLINE void narrow_add_four(narrow_sums *sums, const int8_t *element) {
  const uint32_t four = narrow_get_four(element) ^ 0x80808080u;
  sums->even += four & 0x00ff00ffu;
  sums->odd += (four >> 8) & 0x00ff00ffu;
}

static NARROW_INLINE void narrow_pool_four(const narrow_pooled_part *part, int32_t c, uint32_t reciprocal,
                                           int8_t *output) {
  const int8_t *line = part->first + c;
  const uint32_t count = (uint32_t)(part->rows * part->columns);
  narrow_sums sums = {0, 0};
  if (part->rows == 2 && part->columns == 2) { /* most pools are no larger */
    narrow_add_four(&sums, line);
    narrow_add_four(&sums, line + part->channels);
    narrow_add_four(&sums, line + part->row);
    narrow_add_four(&sums, line + part->row + part->channels);
  } else {
    for (int32_t y = 0; y < part->rows; ++y, line += part->row) {
      const int8_t *element = line;
      for (int32_t x = 0; x < part->columns; ++x, element += part->channels) narrow_add_four(&sums, element);
    }
  }
  const uint32_t zero = narrow_mean_of(sums.even & 0xffffu, count, reciprocal);
  const uint32_t one = narrow_mean_of(sums.odd & 0xffffu, count, reciprocal);
  const uint32_t two = narrow_mean_of(sums.even >> 16, count, reciprocal);
  const uint32_t three = narrow_mean_of(sums.odd >> 16, count, reciprocal);
  narrow_set_four(output + c, (zero | one << 8 | two << 16 | three << 24) ^ 0x80808080u);
}

static NARROW_INLINE void narrow_pool(const narrow_pooled_part *part, narrow_divisor *divisor, int8_t *output) {
  const int32_t count = narrow_times(part->rows, part->columns);
  int32_t c = 0;
  if (NARROW_MULTIPLIER && count <= NARROW_MOST && NARROW_LITTLE_ENDIAN && part->channels % 4 == 0 && narrow_are_words(part->first, output)) {
    if (count != divisor->count) {
      divisor->count = count;
      divisor->reciprocal = ((1u << NARROW_BITS) + (uint32_t)count - 1) / (uint32_t)count;
    }
    for (; c < part->channels; c += 4) narrow_pool_four(part, c, divisor->reciprocal, output);
  }
  for (; c < part->channels; ++c) {
    const int8_t *line = part->first + c;
    int32_t sum = 0;
    for (int32_t y = 0; y < part->rows; ++y, line += part->row) {
      const int8_t *element = line;
      for (int32_t x = 0; x < part->columns; ++x, element += part->channels) sum += *element;
    }
    /* C's division truncates, so half the count with the sum's sign rounds halves away from zero. */
    output[c] = (int8_t)narrow_quotient(sum > 0 ? sum + (count >> 1) : sum - (count >> 1), count);
  }
}

NARROW_KERNEL void narrow_average_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output) {
  narrow_pool_2d(window, input, output);
}
