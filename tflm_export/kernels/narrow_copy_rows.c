/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_copy.h"
#include "narrow_times.h"

NARROW_KERNEL void narrow_copy_rows(int32_t rows, int32_t bytes, int32_t output_stride, const int8_t *input,
                                    int8_t *output) {
  for (int32_t row = 0; row < rows; ++row) {
    narrow_copy_words(bytes, input + narrow_times(bytes, row), output + narrow_times(output_stride, row));
  }
}
