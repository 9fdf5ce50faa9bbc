/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"

NARROW_KERNEL void narrow_quantize(int32_t count, int32_t factor, int32_t start, int32_t shift, const int8_t *input,
                                   int8_t *output) {
  for (int32_t i = 0; i < count; ++i) output[i] = narrow_saturate((input[i] * factor + start) >> shift);
}
