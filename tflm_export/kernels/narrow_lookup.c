/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_lookup(int32_t count, const int8_t *table, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < count; ++i) output[i] = table[input[i] + 128];
}
