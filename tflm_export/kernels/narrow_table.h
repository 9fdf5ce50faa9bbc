/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one integer, and integers in another type. */
#ifndef NARROW_TABLE_H
#define NARROW_TABLE_H

#include "narrow_types.h"

/* y = table[x - low], of y's type, where low is the smallest integer of x's type, which has 8 or 16 bits. */
static NARROW_INLINE void narrow_table(narrow_type type_x, narrow_type type_y, int32_t count, const void *table,
                                       const void *x, void *y) {
  const int32_t low = type_x == NARROW_INT8 ? INT8_MIN : type_x == NARROW_INT16 ? INT16_MIN : 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t place = (int32_t)narrow_load(type_x, x, i) - low;
    narrow_store(type_y, y, i, narrow_load(type_y, table, place));
  }
}

/* y = the low bits of x, or x in a larger type. */
static NARROW_INLINE void narrow_cast(narrow_type type_x, narrow_type type_y, int32_t count, const void *x, void *y) {
  for (int32_t i = 0; i < count; ++i) narrow_store(type_y, y, i, narrow_load(type_x, x, i));
}

#endif
