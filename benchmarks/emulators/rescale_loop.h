/* SPDX-License-Identifier: Apache-2.0 */
/* A loop that does nothing but rescale; benchmarks/rescale_cost.py writes RESCALE_END into it. */
#ifndef RESCALE_LOOP_H
#define RESCALE_LOOP_H

#include <stdint.h>

enum { RESCALE_COUNT = 256 };

typedef struct {
  int32_t accumulator[RESCALE_COUNT];
  int32_t multiplier[RESCALE_COUNT];
  int32_t fold[RESCALE_COUNT];
  int8_t shift[RESCALE_COUNT];
} rescale_input;

/* input: a rescale_input. */
void rescale_loop(const int8_t *input, int8_t *output);

#endif
