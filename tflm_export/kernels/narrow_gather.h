/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of an array at places that are computed, in bytes.
 *
 * A position outside of its dimension is an error in the runtimes; here the nearest one inside counts instead. */
#ifndef NARROW_GATHER_H
#define NARROW_GATHER_H

#include "narrow_memory.h"
#include "narrow_places.h"
#include "narrow_types.h"

/* Position i, moved into 0..last. */
static NARROW_INLINE int32_t narrow_position_within(narrow_type type, const void *positions, int32_t i, int32_t last) {
  return (int32_t)narrow_between(narrow_load(type, positions, i), 0, last);
}

/* y[o, b, p] = x[o, b, positions[o, p]], rows of `bytes`.
 *
 * type: of positions. outer, blocks, count: sizes of o, b and p; size: of the dimension that the positions are in, 1 or
 *   more. */
static NARROW_INLINE void narrow_take(narrow_type type, int32_t outer, int32_t blocks, int32_t size, int32_t count,
                                      int32_t bytes, const void *x, const void *positions, void *y) {
  const uint8_t *from = (const uint8_t *)x;
  uint8_t *to = (uint8_t *)y;
  for (int32_t o = 0; o < outer; ++o) {
    for (int32_t b = 0; b < blocks; ++b, from += size * bytes) {
      for (int32_t p = 0; p < count; ++p, to += bytes) {
        const int32_t position = narrow_position_within(type, positions, o * count + p, size - 1);
        memcpy(to, from + position * bytes, (size_t)bytes);
      }
    }
  }
}

/* y[r] = x[positions[r, 0], .., positions[r, rank - 1]], rows of `bytes`.
 *
 * type: of positions. sizes: of the first `rank` dimensions of x, each 1 or more; strides: in bytes. */
static NARROW_INLINE void narrow_take_nd(narrow_type type, int32_t rows, int32_t rank, const int32_t *sizes,
                                         const int32_t *strides, int32_t bytes, const void *x, const void *positions,
                                         void *y) {
  const uint8_t *from = (const uint8_t *)x;
  uint8_t *to = (uint8_t *)y;
  for (int32_t row = 0; row < rows; ++row, to += bytes) {
    int32_t place = 0;
    for (int32_t d = 0; d < rank; ++d) {
      place += narrow_position_within(type, positions, row * rank + d, sizes[d] - 1) * strides[d];
    }
    memcpy(to, from + place, (size_t)bytes);
  }
}

/* y = x of `total` bytes with a block in it, whose first element is at a place that is moved so that it fits.
 *
 * type: of begin [rank or more]. rank: dimensions that tell rows apart and the first one inside of rows; what is behind
 *   them has the same size in x and block. block_sizes, room: [rank], of the block, and how much larger x is.
 * strides: [rank], of x in bytes. rows: how many the block has, over all dimensions but the last; bytes: of one. */
static NARROW_INLINE void narrow_update(narrow_type type, int32_t total, int32_t rank, const int32_t *block_sizes,
                                        const int32_t *room, const int32_t *strides, int32_t rows, int32_t bytes,
                                        const void *x, const void *block, const void *begin, void *y) {
  const uint8_t *from = (const uint8_t *)block;
  uint8_t *to = (uint8_t *)y;
  memcpy(y, x, (size_t)total);
  for (int32_t d = 0; d < rank; ++d) to += narrow_position_within(type, begin, d, room[d]) * strides[d];
  for (int32_t row = 0; row < rows; ++row, from += bytes) {
    memcpy(to + narrow_place(rank - 1, block_sizes, strides, row), from, (size_t)bytes);
  }
}

#endif
