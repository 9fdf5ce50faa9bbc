/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_kernels.h"
#include "narrow_memory.h"
#include "narrow_times.h"

NARROW_KERNEL void narrow_pad(const int32_t shape[4], const int32_t before[4], const int32_t after[4], int8_t value,
                              const int8_t *input, int8_t *output) {
  /* Elements of the output under one step of each axis. */
  const int32_t step2 = before[3] + shape[3] + after[3];
  const int32_t step1 = narrow_times(step2, before[2] + shape[2] + after[2]);
  const int32_t step0 = narrow_times(step1, before[1] + shape[1] + after[1]);
  memset(output, value, (size_t)narrow_times(step0, before[0] + shape[0] + after[0]));
  for (int32_t i = 0; i < shape[0]; ++i) {
    for (int32_t j = 0; j < shape[1]; ++j) {
      int8_t *to = output + narrow_times(step0, before[0] + i) + narrow_times(step1, before[1] + j) +
                   narrow_times(step2, before[2]) + before[3];
      for (int32_t k = 0; k < shape[2]; ++k, to += step2, input += shape[3]) memcpy(to, input, (size_t)shape[3]);
    }
  }
}
