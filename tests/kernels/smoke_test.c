/* SPDX-License-Identifier: Apache-2.0 */
/* One call of every kernel, so that all build, link and run wherever Bazel does, under sanitizers with
 * --config=sanitize. With weights of 1 and factors of 1, layers give back their input, or the mean of four channels.
 * The Python tests in this folder hold the kernels to exact arithmetic over all that their headers allow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "narrow_in_place.h"

enum { CHANNELS = 4, SIDE = 5, PIXELS = SIDE * SIDE, COUNT = PIXELS * CHANNELS, TAPS = 9, CENTRE = 4, SQUARE = 16 };

static int8_t *x, *means, *y;
static int failures;

/* Exactly this many bytes, for AddressSanitizer. */
static void *filled(size_t bytes, int value) {
  void *memory = malloc(bytes);
  if (memory == NULL) exit(2);
  return memset(memory, value, bytes);
}

static void check(const char *name, const int8_t *wanted) {
  if (memcmp(y, wanted, COUNT) != 0) failures += printf("%s computes something else\n", name) > 0;
  memset(y, 0x5a, COUNT);
}

static const int32_t zeros[CHANNELS], halves[CHANNELS] = {2, 2, 2, 2};
static const int8_t none[CHANNELS], twos[CHANNELS] = {2, 2, 2, 2};
static const narrow_rescale same = {zeros, NULL, NULL, none, 0}, quarter = {halves, NULL, NULL, twos, 0};
static const narrow_window window = {1, SIDE, SIDE, CHANNELS, SIDE, SIDE, CHANNELS, 3, 3, 1, 1, 1, 1, 1, 1, 0};

static void layers(void) {
  int8_t *square = filled(SQUARE, 1), *kernel = filled(CHANNELS * TAPS * CHANNELS, 0);
  int8_t *centre = filled(TAPS * CHANNELS, 0), *scratch = filled(9 * TAPS * CHANNELS, 0);
  int32_t *words = filled(SQUARE, 1), *pairs = filled(2 * TAPS * sizeof *pairs, 0);
  for (int c = 0; c < CHANNELS; ++c) memset(kernel + (c * TAPS + CENTRE) * CHANNELS, 1, CHANNELS);
  memset(centre + CENTRE * CHANNELS, 1, CHANNELS);
  pairs[2 * CENTRE] = pairs[2 * CENTRE + 1] = 1 << 16 | 1;
  check("conv_2d", (narrow_conv_2d_shift(&window, &quarter, kernel, x, y, scratch), means));
  check("conv_2d_in_place", (narrow_conv_2d_in_place_shift(&window, &quarter, kernel, x, y, scratch), means));
  check("depthwise", (narrow_depthwise_conv_2d_shift(&window, &same, centre, x, y, scratch), x));
  check("depthwise_in_place", (narrow_depthwise_conv_2d_in_place_shift(&window, &same, centre, x, y, scratch), x));
  check("depthwise_dsp", (narrow_depthwise_conv_2d_dsp_shift(&window, &same, pairs, x, y, scratch), x));
  check("dense", (narrow_fully_connected_shift(PIXELS, CHANNELS, CHANNELS, &quarter, square, x, y), means));
  check("dense_in_place", (narrow_fully_connected_in_place_shift(PIXELS, 4, 4, &quarter, square, x, y), means));
  check("dense_dsp", (narrow_fully_connected_dsp_shift(PIXELS, 4, 4, &quarter, words, x, y, scratch), means));
  check("dense_v6m", (narrow_fully_connected_v6m_shift(PIXELS, 4, 4, &quarter, words, x, y, scratch), means));
  void *const used[] = {square, kernel, centre, scratch, words, pairs};
  for (size_t i = 0; i < sizeof used / sizeof used[0]; ++i) free(used[i]);
}

static void others(void) {
  static const narrow_window one = {1, SIDE, SIDE, CHANNELS, SIDE, SIDE, CHANNELS, 1, 1, 1, 1, 1, 1, 0, 0, 0};
  static const int32_t half[] = {1 << 30, 1 << 30, 1 << 30}, shape[] = {1, SIDE, SIDE, CHANNELS}, largest = INT32_MAX;
  static const int8_t shifts[] = {0, 0, 19}, left = -1; /* of terms at 2^20, and doubled */
  const narrow_rescale stock = {zeros, half, NULL, &left, 0};
  int8_t *ones = filled(COUNT, 1), *top = filled(COUNT, 127), *table = filled(256, 0);
  for (int i = 0; i < 256; ++i) table[i] = (int8_t)(i - 128);
  check("add", (narrow_add(1, COUNT, 1, 1, 0, 1, x, x, y), x));
  check("add_wide", (narrow_add_wide(1, COUNT, 1, 1, 0, 1, x, x, y), x));
  check("add_stock", (narrow_add_stock(1, COUNT, half, shifts, zeros, x, x, y), x));
  check("mul", (narrow_mul_shift(1, COUNT, zeros, &same, x, ones, y), x));
  check("average_pool_2d", (narrow_average_pool_2d(&one, x, y), x));
  check("max_pool_2d", (narrow_max_pool_2d(&one, x, y), x));
  check("mean", (narrow_mean(COUNT, 1, 1, 2, 257, 2, x, y), x));
  check("mean_wide", (narrow_mean_wide(COUNT, 1, 1, 2, 257, 2, x, y), x));
  check("mean_stock", (narrow_mean_stock(COUNT, 1, 1, 0, &stock, x, y), x));
  check("softmax", (narrow_softmax(COUNT, 1, 1, &largest, x, y), top));
  check("lookup", (narrow_lookup(COUNT, table, x, y), x));
  check("quantize", (narrow_quantize(COUNT, 1, 0, 0, x, y), x));
  check("clamp", (narrow_clamp(COUNT, -128, 127, x, y), x));
  check("copy_rows", (narrow_copy_rows(PIXELS, CHANNELS, CHANNELS, x, y), x));
  check("pad", (narrow_pad(shape, zeros, zeros, 0, x, y), x));
  free(ones);
  free(top);
  free(table);
}

int main(void) {
  x = filled(COUNT, 0), means = filled(COUNT, 0), y = filled(COUNT, 0x5a);
  for (int i = 0; i < COUNT; ++i) x[i] = (int8_t)(i * 37 % 256 - 128);
  for (int i = 0; i < COUNT; ++i) {
    const int8_t *pixel = x + i / CHANNELS * CHANNELS;
    means[i] = (int8_t)((pixel[0] + pixel[1] + pixel[2] + pixel[3] + 2 + 4 * 128) / 4 - 128); /* halves up */
  }
  layers();
  others();
  free(x);
  free(means);
  free(y);
  return failures != 0;
}
