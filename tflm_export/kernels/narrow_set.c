/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_kernels.h"
#include "narrow_memory.h"

NARROW_KERNEL void narrow_set(int32_t size, int32_t count, int64_t value, void *output) {
  if (size == 1) {
    memset(output, (int)value, (size_t)count);
  } else if (size == 2) {
    for (int32_t i = 0; i < count; ++i) ((int16_t *)output)[i] = (int16_t)value;
  } else if (size == 4) {
    for (int32_t i = 0; i < count; ++i) ((int32_t *)output)[i] = (int32_t)value;
  } else {
    for (int32_t i = 0; i < count; ++i) ((int64_t *)output)[i] = value;
  }
}
