/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_copy.h"
#include "narrow_times.h"

#define MOST_AXES 8

/* Elements of all types of a size are moved as one type, of which compilers are to know. */
#if NARROW_GNU
#define ANY __attribute__((may_alias))
#else
#define ANY
#endif
typedef int16_t ANY any_16;
typedef int32_t ANY any_32;
typedef int64_t ANY any_64;

/* Elements along an axis. */
static void move_axis(int32_t size, int32_t count, int32_t step_x, int32_t step_y, const void *x, void *y) {
  if (step_x == 1 && step_y == 1) {
    narrow_copy_words(narrow_times(count, size), (const int8_t *)x, (int8_t *)y);
  } else if (size == 1) {
    for (int32_t i = 0; i < count; ++i) ((int8_t *)y)[narrow_times(step_y, i)] = ((const int8_t *)x)[narrow_times(step_x, i)];
  } else if (size == 2) {
    for (int32_t i = 0; i < count; ++i) ((any_16 *)y)[narrow_times(step_y, i)] = ((const any_16 *)x)[narrow_times(step_x, i)];
  } else if (size == 4) {
    for (int32_t i = 0; i < count; ++i) ((any_32 *)y)[narrow_times(step_y, i)] = ((const any_32 *)x)[narrow_times(step_x, i)];
  } else {
    for (int32_t i = 0; i < count; ++i) ((any_64 *)y)[narrow_times(step_y, i)] = ((const any_64 *)x)[narrow_times(step_x, i)];
  }
}

/* A block; x and y are where it begins. */
static void move_block(int32_t size, int32_t rank, const int32_t *sizes, const int8_t *x, int8_t *y) {
  const int32_t *const steps_x = sizes + rank, *const steps_y = steps_x + rank;
  int32_t index[MOST_AXES], axis;
  for (axis = 0; axis < rank; ++axis) index[axis] = 0;
  do {
    move_axis(size, sizes[rank - 1], steps_x[rank - 1], steps_y[rank - 1], x, y);
    for (axis = rank - 2; axis >= 0; --axis) {
      x += narrow_times(steps_x[axis], size);
      y += narrow_times(steps_y[axis], size);
      if (++index[axis] < sizes[axis]) break;
      index[axis] = 0;
      x -= narrow_times(narrow_times(steps_x[axis], sizes[axis]), size);
      y -= narrow_times(narrow_times(steps_y[axis], sizes[axis]), size);
    }
  } while (axis >= 0);
}

NARROW_KERNEL void narrow_move(int32_t size, int32_t count, int32_t rank, const int32_t *blocks, const int32_t *places,
                               const void *const *inputs, void *output) {
  for (int32_t block = 0; block < count; ++block, blocks += 2 + 3 * rank) {
    const int8_t *const x = (const int8_t *)inputs[blocks[0]];
    for (int32_t copy = 0; copy < blocks[1]; ++copy, places += 2) {
      move_block(size, rank, blocks + 2, x + narrow_times(places[0], size), (int8_t *)output + narrow_times(places[1], size));
    }
  }
}
