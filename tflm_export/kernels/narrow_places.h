/* SPDX-License-Identifier: Apache-2.0 */
/* Where the elements of a part of an array stand. */
#ifndef NARROW_PLACES_H
#define NARROW_PLACES_H

#include "narrow_rescale.h"

/* Where element i of some dimensions stands, counted in their order, by their sizes and strides; 0 where rank <= 0. */
static NARROW_INLINE int32_t narrow_place(int32_t rank, const int32_t *sizes, const int32_t *strides, int32_t i) {
  int32_t place = 0;
  for (int32_t d = rank - 1; d > 0; --d) {
    const int32_t outer = i / sizes[d];
    place += (i - outer * sizes[d]) * strides[d];
    i = outer;
  }
  return rank > 0 ? place + i * strides[0] : 0;
}

#endif
