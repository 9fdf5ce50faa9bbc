/* SPDX-License-Identifier: Apache-2.0 */
/* A model on this machine: inputs from standard input, inference by inference, and outputs to standard output. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include HOST_HEADER

int main(void) {
  int8_t *const input = (int8_t *)malloc(HOST_INPUT_BYTES), *const output = (int8_t *)malloc(HOST_OUTPUT_BYTES);
  if (input == NULL || output == NULL) return 2;
  while (fread(input, HOST_INPUT_BYTES, 1, stdin) == 1) {
    HOST_INVOKE(input, output);
    if (fwrite(output, HOST_OUTPUT_BYTES, 1, stdout) != 1) return 2;
  }
  free(input);
  free(output);
  return 0;
}
