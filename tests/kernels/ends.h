/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDS_H
#define ENDS_H

#include <stdint.h>

enum { ENDS_COUNT = 256, ENDS_OUTPUT_BYTES = 4 * 4 * ENDS_COUNT + 2 * ENDS_COUNT };

typedef struct {
  int32_t start[ENDS_COUNT], multiplier[ENDS_COUNT], fold[ENDS_COUNT], shift[ENDS_COUNT];
} ends_input;

/* input: an ends_input. output: [shift, stock][tiles, planes][ENDS_COUNT][4], of tiles maybe only two of the four;
 * saturated starts [ENDS_COUNT], and half of them. */
void ends(const int8_t *input, int8_t *output);

#endif
