/* SPDX-License-Identifier: Apache-2.0 */
/* Walks through two inputs of different shapes that give one output. */
#ifndef NARROW_BROADCAST_H
#define NARROW_BROADCAST_H

#include "narrow_rescale.h"

#define NARROW_MOST_AXES 8

/* Where each element of an output comes from, row after row. Made from the shapes at export, in c/broadcast.py.
 *
 * count: elements of a row, 0 or more.
 * step_a, step_b: from one element of a row to the next, 0 or 1.
 * axes: around rows, 0..NARROW_MOST_AXES.
 * sizes: of these axes, the outermost first, 1 or more each. May be NULL where there are none.
 * strides: [axes, 2], steps along them of a and b, in elements; 0 where an input repeats. */
typedef struct {
  int32_t count, step_a, step_b, axes;
  const int32_t *sizes, *strides;
} narrow_broadcast;

/* Where a row begins in a, b and the output. */
typedef struct {
  int32_t a, b, y;
  int32_t index[NARROW_MOST_AXES];
} narrow_row;

static NARROW_INLINE narrow_row narrow_first_row(void) {
  narrow_row row;
  row.a = row.b = row.y = 0;
  for (int32_t axis = 0; axis < NARROW_MOST_AXES; ++axis) row.index[axis] = 0;
  return row;
}

/* Goes on to the next row; 0 behind the last one. */
static NARROW_INLINE int narrow_next_row(const narrow_broadcast *shape, narrow_row *row) {
  row->y += shape->count;
  for (int32_t axis = shape->axes - 1; axis >= 0; --axis) {
    const int32_t size = shape->sizes[axis], a = shape->strides[2 * axis], b = shape->strides[2 * axis + 1];
    row->a += a;
    row->b += b;
    if (++row->index[axis] < size) return 1;
    row->index[axis] = 0;
    row->a -= size * a;
    row->b -= size * b;
  }
  return 0;
}

#endif
