/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dsp.h"
#include "narrow_in_place.h"
#include "narrow_window.h"

/* Tiles of 4 pixels and 1 channel: 4 accumulators, and for every four steps of depth one word of weights and eight of
 * inputs, which were widened once for all channels. */

/* The `count` bytes, 1..3, before the end of a row, zeros behind them. */
static NARROW_INLINE int32_t narrow_word_tail(const int8_t *from, int32_t count) {
  uint32_t word = (uint8_t)from[0];
  if (count > 1) word |= (uint32_t)(uint8_t)from[1] << 8;
  if (count > 2) word |= (uint32_t)(uint8_t)from[2] << 16;
  return (int32_t)word;
}

/* Widens `depth` bytes of one pixel, zeros behind them, into every fourth word: bytes 0 and 2, then 1 and 3. */
static NARROW_INLINE void widen(const int8_t *from, int32_t depth, int32_t *column) {
  int32_t i = 0;
  for (; i + 4 <= depth; i += 4, column += 8) {
    const int32_t x = narrow_word(from + i);
    column[0] = narrow_even(x);
    column[4] = narrow_odd(x);
  }
  if (i < depth) {
    const int32_t x = narrow_word_tail(from + i, depth - i);
    column[0] = narrow_even(x);
    column[4] = narrow_odd(x);
  }
}

/* Adds the products of four steps of depth to the sums of 4 pixels.
 *
 * word: four weights. x: [2, 4 pixels] of columns. */
static NARROW_INLINE void step(int32_t word, const int32_t *x, int32_t sums[4]) {
  const int32_t even = narrow_even(word), odd = narrow_odd(word);
  for (int32_t i = 0; i < 4; ++i) sums[i] = narrow_mac2(x[4 + i], odd, narrow_mac2(x[i], even, sums[i]));
}

/* `blocks` times 16 steps, 1 or more; returns the columns behind them. */
static NARROW_INLINE const int32_t *steps(int32_t blocks, const int8_t *weights, const int32_t *x, int32_t sums[4]) {
#if NARROW_DSP_LOOPS
  /* 22 cycles for 16 products on a Cortex-M4, as LDM takes one for each register and one more; compilers, which load
   * one by one, need 31. */
#define STEP                             \
  "ldr    %[odd], [%[w]], #4\n\t"        \
  "ldmia  %[x]!, {r4, r5, r6, r8}\n\t"   \
  "sxtb16 %[even], %[odd]\n\t"           \
  "sxtb16 %[odd], %[odd], ror #8\n\t"    \
  "smlad  %[a], r4, %[even], %[a]\n\t"   \
  "smlad  %[b], r5, %[even], %[b]\n\t"   \
  "smlad  %[c], r6, %[even], %[c]\n\t"   \
  "smlad  %[d], r8, %[even], %[d]\n\t"   \
  "ldmia  %[x]!, {r4, r5, r6, r8}\n\t"   \
  "smlad  %[a], r4, %[odd], %[a]\n\t"    \
  "smlad  %[b], r5, %[odd], %[b]\n\t"    \
  "smlad  %[c], r6, %[odd], %[c]\n\t"    \
  "smlad  %[d], r8, %[odd], %[d]\n\t"
  const int8_t *const last = weights + 16 * blocks;
  int32_t even, odd;
  __asm__ volatile("1:\n\t" STEP STEP STEP STEP
                   "cmp    %[w], %[last]\n\t"
                   "bne    1b\n\t"
                   : [a] "+r"(sums[0]), [b] "+r"(sums[1]), [c] "+r"(sums[2]), [d] "+r"(sums[3]), [x] "+r"(x),
                     [w] "+r"(weights), [even] "=&r"(even), [odd] "=&r"(odd)
                   : [last] "r"(last)
                   : "r4", "r5", "r6", "r8", "cc", "memory");
#undef STEP
  return x;
#else
  for (int32_t i = 0; i < 4 * blocks; ++i, weights += 4, x += 8) step(narrow_word(weights), x, sums);
  return x;
#endif
}

/* columns: [depth4 / 2, 4 pixels]; the first `count` pixels are stored, 1..4. */
static NARROW_INLINE void tile(int32_t depth, int32_t channels, const narrow_rescale *rescale, const int8_t *weights,
                               const int32_t *columns, int32_t count, int8_t *output, narrow_end end) {
  const int32_t blocks = depth / 16;
  for (int32_t c = 0; c < channels; ++c, ++output) {
    const int32_t start = rescale->start[c];
    int32_t sums[4] = {start, start, start, start};
    const int32_t *x = blocks > 0 ? steps(blocks, weights, columns, sums) : columns;
    int32_t i = 16 * blocks;
    for (; i + 4 <= depth; i += 4, x += 8) step(narrow_word(weights + i), x, sums);
    if (i < depth) step(narrow_word_tail(weights + i, depth - i), x, sums);
    weights += depth;
    int8_t *pixel = output;
    *pixel = narrow_finish(end, rescale, c, sums[0]);
    if (count > 1) *(pixel += channels) = narrow_finish(end, rescale, c, sums[1]);
    if (count > 2) *(pixel += channels) = narrow_finish(end, rescale, c, sums[2]);
    if (count > 3) *(pixel += channels) = narrow_finish(end, rescale, c, sums[3]);
  }
}

static NARROW_INLINE void conv_2d_in_place(const narrow_window *window, const narrow_rescale *rescale,
                                           const int8_t *weights, const int8_t *input, int8_t *output,
                                           int8_t *scratch, narrow_end end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t image = window->input_height * window->input_width * window->input_channels;
  const int32_t depth = window->kernel_height * window->kernel_width * window->input_channels;
  const int32_t channels = window->output_channels;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int8_t *const patch = scratch + 8 * ((depth + 3) & ~3);
  int32_t count = 0;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image) {
    int32_t top = -window->pad_top;
    for (int32_t y = 0; y < window->output_height; ++y, top += window->stride_height) {
      int32_t left = -window->pad_left;
      for (int32_t x = 0; x < window->output_width; ++x, left += window->stride_width) {
        const int8_t *from = patch;
        if (window->kernel_height * window->kernel_width == 1 && narrow_inside(window, top, left)) {
          from = input + (top * window->input_width + left) * window->input_channels;
        } else {
          narrow_gather(window, input, top, left, patch);
        }
        widen(from, depth, columns + count);
        if (++count == 4) {
          tile(depth, channels, rescale, weights, columns, 4, output, end);
          output += 4 * channels;
          count = 0;
        }
      }
    }
  }
  if (count != 0) tile(depth, channels, rescale, weights, columns, count, output, end);
}

NARROW_DEFINE_ENDS(narrow_conv_2d_in_place,
                   (const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                    const int8_t *input, int8_t *output, int8_t *scratch),
                   conv_2d_in_place(window, rescale, weights, input, output, scratch, end))
