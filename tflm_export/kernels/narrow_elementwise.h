/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of the plain integers of two inputs, whatever they stand for. */
#ifndef NARROW_ELEMENTWISE_H
#define NARROW_ELEMENTWISE_H

#include "narrow_broadcast.h"
#include "narrow_types.h"

typedef enum {
  NARROW_FUNCTION_ADD,
  NARROW_FUNCTION_SUBTRACT,
  NARROW_FUNCTION_MULTIPLY,
  NARROW_FUNCTION_MAXIMUM,
  NARROW_FUNCTION_MINIMUM
} narrow_function;

/* The low bits of an integer, as a type holds them. */
static NARROW_INLINE int64_t narrow_cut(narrow_type type, int64_t x) {
  switch (type) {
    case NARROW_INT8: return (int8_t)x;
    case NARROW_UINT8: return (uint8_t)x;
    case NARROW_INT16: return (int16_t)x;
    case NARROW_INT32: return (int32_t)x;
    default: return x;
  }
}

/* In 64 bits that wrap. */
static NARROW_INLINE int64_t narrow_function_of(narrow_function function, int64_t a, int64_t b) {
  switch (function) {
    case NARROW_FUNCTION_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case NARROW_FUNCTION_SUBTRACT: return (int64_t)((uint64_t)a - (uint64_t)b);
    case NARROW_FUNCTION_MULTIPLY: return (int64_t)((uint64_t)a * (uint64_t)b);
    case NARROW_FUNCTION_MAXIMUM: return a > b ? a : b;
    default: return a < b ? a : b;
  }
}

/* y = min(max(function(a, b), low), high); the function's result is cut to the output's type first. a, b and y are of
 * any types. */
static NARROW_INLINE void narrow_elementwise(narrow_function function, narrow_type type_a, narrow_type type_b,
                                             narrow_type type_y, const narrow_broadcast *shape, int64_t low,
                                             int64_t high, const void *a, const void *b, void *y) {
  narrow_row row = narrow_first_row();
  do {
    for (int32_t i = 0; i < shape->count; ++i) {
      const int64_t p = narrow_load(type_a, a, row.a + i * shape->step_a);
      const int64_t q = narrow_load(type_b, b, row.b + i * shape->step_b);
      const int64_t value = narrow_cut(type_y, narrow_function_of(function, p, q));
      narrow_store(type_y, y, row.y + i, narrow_between(value, low, high));
    }
  } while (narrow_next_row(shape, &row));
}

#endif
