/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution in tiles of 2 pixels and 2 channels, for ARMv6-M and ARMv7-M without DSP: two pixels in one product.
 *
 * With X = x0 + 2^16 * x1, w * X is w * x0 + 2^16 * (w * x1). Products of a block of weights are added before their
 * halves are split, which is exact while the lower one is an int16: |sum of w x0| <= 128 * sum of |w| < 2^15, so the
 * weights of a block may add up to 255. Where those of a layer do not, they are made smaller when it is exported, and
 * what is missing follows its row as a correction.
 *
 * NARROW_CONV_2D_TILES_V6M(name, end, height, loops, unrolled, block, rest, channels, pixel, channel) makes
 * a narrow_tile_kernel:
 *
 *   end      SHIFT, MULTIPLY or STOCK (folded): int8 outputs; SUM: int32 sums [channels, 2 pixels], whatever pixel and
 *            channel.
 *   height   rows of the kernel.
 *   loops, unrolled, block, rest  steps, of two words of inputs each, in a row under the window of the two pixels:
 *            loops * unrolled blocks of `block` steps, and a block of `rest`, which may be 0.
 *   channels  2 or more.
 *   pixel, channel  bytes from output to output; one of them is 1.
 *
 * weights: see narrow_tiles.h. For each pair and row, a word (A k, B k, A k + 1, B k + 1) for each step, lowest byte
 * first; the number of corrections; and a word for each: how many bytes before the row's end its input is (16 bits),
 * then what is missing of A and of B. */
#ifndef NARROW_CONV_2D_TILES_V6M_H
#define NARROW_CONV_2D_TILES_V6M_H

#include "narrow_tiles.h"
#include "narrow_v6m.h"

#if NARROW_V6M_LOOPS

/* r0: inputs, r1: weights and all else in the order of its use, r6, r7: sums of both pixels for A, B, r8, r9: sums of
 * A, r10, r11: of B, r12: end of the loop, lr: the row at hand, r2-r5: all else. Stack: 0 rows, 4 output, 8 pairs left,
 * 12 bytes of the loop, 16 the longer of pixel and channel. */

/* The first step of a block begins its sums: 17 cycles; the others are NARROW_V6M_STEP. */
#define NARROW_V6M_FIRST   \
  "ldm  r1!, {r2}\n\t"     \
  "ldm  r0!, {r3, r4}\n\t" \
  "sxtb r6, r2\n\t"        \
  "muls r6, r3, r6\n\t"    \
  "lsls r5, r2, #8\n\t"    \
  "asrs r5, r5, #24\n\t"   \
  "muls r5, r4, r5\n\t"    \
  "adds r6, r6, r5\n\t"    \
  "lsls r7, r2, #16\n\t"   \
  "asrs r7, r7, #24\n\t"   \
  "muls r7, r3, r7\n\t"    \
  "asrs r2, r2, #24\n\t"   \
  "muls r2, r4, r2\n\t"    \
  "adds r7, r7, r2\n\t"

/* 10 cycles. */
#define NARROW_V6M_SPLIT_TILE(a, b) \
  "sxth r5, " a "\n\t"              \
  "add  r8, r5\n\t"                 \
  "subs " a ", " a ", r5\n\t"       \
  "asrs " a ", " a ", #16\n\t"      \
  "add  r9, " a "\n\t"              \
  "sxth r5, " b "\n\t"              \
  "add  r10, r5\n\t"                \
  "subs " b ", " b ", r5\n\t"       \
  "asrs " b ", " b ", #16\n\t"      \
  "add  r11, " b "\n\t"

/* Stores the two pixels of channel 0, 1 of the pair: r5 is the output, r6 one pixel or channel further. Behind the
 * second channel r5 goes on to the next pair. `planar` is a symbol of the assembler. */
#define NARROW_V6M_PUT_0  \
  "strb r2, [r5]\n\t"     \
  ".if planar\n\t"        \
  "strb r3, [r5, #1]\n\t" \
  ".else\n\t"             \
  "strb r3, [r6]\n\t"     \
  ".endif\n\t"
#define NARROW_V6M_PUT_1   \
  ".if planar\n\t"         \
  "strb r2, [r6]\n\t"      \
  "strb r3, [r6, #1]\n\t"  \
  "ldr  r5, [sp, #16]\n\t" \
  "adds r5, r5, r6\n\t"    \
  ".else\n\t"              \
  "strb r2, [r5, #1]\n\t"  \
  "strb r3, [r6, #1]\n\t"  \
  "adds r5, r5, #2\n\t"    \
  ".endif\n\t"

/* r1: what is behind the weights, r5, r6: outputs. */
#define NARROW_V6M_CHANNEL_SHIFT(first, second, c)                                \
  "ldrb r7, [r1, #" #c "]\n\t"                                                    \
  "mov  r2, " first "\n\t"                                                        \
  "mov  r3, " second "\n\t"                                                       \
  "asrs r2, r2, r7\n\t"                                                           \
  "asrs r3, r3, r7\n\t" NARROW_V6M_CLAMP("r2", "r4") NARROW_V6M_CLAMP("r3", "r4") \
  NARROW_V6M_PUT_##c

#define NARROW_V6M_CHANNEL_MULTIPLY(first, second, c)                             \
  "ldr  r4, [r1, #4*" #c "]\n\t"                                                  \
  "ldr  r7, [r1, #8+4*" #c "]\n\t"                                                \
  "mov  r2, " first "\n\t"                                                        \
  "mov  r3, " second "\n\t"                                                       \
  "muls r2, r4, r2\n\t"                                                           \
  "muls r3, r4, r3\n\t"                                                           \
  "adds r2, r2, r7\n\t"                                                           \
  "adds r3, r3, r7\n\t"                                                           \
  "ldrb r7, [r1, #16+" #c "]\n\t"                                                 \
  "asrs r2, r2, r7\n\t"                                                           \
  "asrs r3, r3, r7\n\t" NARROW_V6M_CLAMP("r2", "r4") NARROW_V6M_CLAMP("r3", "r4") \
  NARROW_V6M_PUT_##c

/* Both outputs of a channel, in the place of their sums. r0: what is behind the weights. */
#define NARROW_V6M_STOCK_TWO(first, second, c) \
  "ldr  r4, [r0, #4*" #c "]\n\t"               \
  "ldr  r6, [r0, #8+4*" #c "]\n\t"             \
  "ldrb r7, [r0, #16+" #c "]\n\t" NARROW_V6M_STOCK_SPLIT NARROW_V6M_STOCK(first) NARROW_V6M_STOCK(second)

#define NARROW_V6M_CHANNEL_STORED(first, second, c) \
  "mov  r2, " first "\n\t"                          \
  "mov  r3, " second "\n\t" NARROW_V6M_PUT_##c

#define NARROW_V6M_OUTPUTS(end, words)                                                                    \
  "ldr  r5, [sp, #4]\n\t"                                                                                 \
  "ldr  r6, [sp, #16]\n\t"                                                                                \
  "adds r6, r5, r6\n\t" NARROW_V6M_CHANNEL_##end("r8", "r9", 0) NARROW_V6M_CHANNEL_##end("r10", "r11", 1) \
  "adds r1, r1, #4*" words "\n\t"

/* r5: where the next pair's outputs are. */
#define NARROW_V6M_FINISH_TILE_SHIFT NARROW_V6M_OUTPUTS(SHIFT, "1")
#define NARROW_V6M_FINISH_TILE_MULTIPLY NARROW_V6M_OUTPUTS(MULTIPLY, "5")
#define NARROW_V6M_FINISH_TILE_STOCK                                                          \
  "movs r0, r1\n\t" NARROW_V6M_STOCK_TWO("r8", "r9", 0) NARROW_V6M_STOCK_TWO("r10", "r11", 1) \
  "movs r1, r0\n\t" NARROW_V6M_OUTPUTS(STORED, "5")
#define NARROW_V6M_FINISH_TILE_SUM \
  "ldr  r0, [sp, #4]\n\t"          \
  "mov  r2, r8\n\t"                \
  "mov  r3, r9\n\t"                \
  "mov  r4, r10\n\t"               \
  "mov  r5, r11\n\t"               \
  "stm  r0!, {r2-r5}\n\t"          \
  "movs r5, r0\n\t"

/* How far the outputs of two channels are apart, at most 32767. */
#define NARROW_V6M_NEXT_SHIFT(channel) channel
#define NARROW_V6M_NEXT_MULTIPLY(channel) channel
#define NARROW_V6M_NEXT_STOCK(channel) channel
#define NARROW_V6M_NEXT_SUM(channel) "8"

#define NARROW_CONV_2D_TILES_V6M(name, end, height, loops, unrolled, block, rest, channels, pixel, channel) \
  NARROW_C narrow_tile_kernel name;                                                                         \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                      \
          NARROW_V6M_SAVE                                                                                   \
          "sub  sp, sp, #20\n\t"                                                                            \
          "str  r0, [sp]\n\t"                                                                               \
          "str  r1, [sp, #4]\n\t"                                                                           \
          "ldr  r4, 7f\n\t"                                                                                 \
          "ldr  r5, 8f\n\t"                                                                                 \
          "ldr  r6, 9f\n\t"                                                                                 \
          "str  r4, [sp, #8]\n\t"                                                                           \
          "str  r5, [sp, #12]\n\t"                                                                          \
          "str  r6, [sp, #16]\n\t"                                                                          \
          "movs r1, r2\n\t"                                                                                 \
          "b    1f\n\t"                                                                                     \
          ".align 2\n"                                                                                      \
          "7:\n\t"                                                                                          \
          ".word (" #channels "+1)/2\n"                                                                     \
          "8:\n\t"                                                                                          \
          ".word 8*" #loops "*" #unrolled "*" #block "\n"                                                   \
          "9:\n\t"                                                                                          \
          ".if " #pixel "-1\n\t"                                                                            \
          ".word " #pixel "\n\t"                                                                            \
          ".set planar, 0\n\t"                                                                              \
          ".else\n\t"                                                                                       \
          ".word " #channel "\n\t"                                                                          \
          ".set planar, 1\n\t"                                                                              \
          ".endif\n"                                                                                        \
          "1:\n\t" /* two channels */                                                                       \
          "ldm  r1!, {r4, r5}\n\t"                                                                          \
          "mov  r8, r4\n\t"                                                                                 \
          "mov  r9, r4\n\t"                                                                                 \
          "mov  r10, r5\n\t"                                                                                \
          "mov  r11, r5\n\t"                                                                                \
          "ldr  r2, [sp]\n\t"                                                                               \
          "ldm  r2!, {r0}\n"                                                                                \
          "2:\n\t" /* a row of the kernel */                                                                \
          ".if " #height " > 1\n\t"                                                                         \
          "mov  lr, r2\n\t"                                                                                 \
          ".endif\n\t"                                                                                      \
          ".if " #loops " > 1\n\t"                                                                          \
          ".if 8*" #loops "*" #unrolled "*" #block " < 256\n\t"                                             \
          "movs r2, #8*" #loops "*" #unrolled "*" #block "\n\t"                                             \
          ".else\n\t"                                                                                       \
          "ldr  r2, [sp, #12]\n\t"                                                                          \
          ".endif\n\t"                                                                                      \
          "adds r2, r0, r2\n\t"                                                                             \
          "mov  r12, r2\n"                                                                                  \
          "3:\n\t"                                                                                          \
          ".endif\n\t"                                                                                      \
          ".rept " #unrolled "\n\t" NARROW_V6M_FIRST                                                        \
          ".rept " #block "-1\n\t" NARROW_V6M_STEP                                                          \
          ".endr\n\t" NARROW_V6M_SPLIT_TILE("r6", "r7")                                                     \
          ".endr\n\t"                                                                                       \
          ".if " #loops " > 1\n\t"                                                                          \
          "cmp  r0, r12\n\t"                                                                                \
          "beq  4f\n\t"                                                                                     \
          "b    3b\n"                                                                                       \
          "4:\n\t"                                                                                          \
          ".endif\n\t"                                                                                      \
          ".if " #rest " > 0\n\t" NARROW_V6M_FIRST                                                          \
          ".rept " #rest "-1\n\t" NARROW_V6M_STEP                                                           \
          ".endr\n\t" NARROW_V6M_SPLIT_TILE("r6", "r7")                                                     \
          ".endif\n\t"                                                                                      \
          "ldm  r1!, {r7}\n\t"                                                                              \
          "cmp  r7, #0\n\t"                                                                                 \
          "beq  6f\n"                                                                                       \
          "5:\n\t" /* a correction */                                                                       \
          "ldm  r1!, {r2}\n\t"                                                                              \
          "uxth r3, r2\n\t"                                                                                 \
          "subs r3, r0, r3\n\t"                                                                             \
          "ldr  r3, [r3]\n\t"                                                                               \
          "lsls r4, r2, #8\n\t"                                                                             \
          "asrs r4, r4, #24\n\t"                                                                            \
          "muls r4, r3, r4\n\t"                                                                             \
          "asrs r2, r2, #24\n\t"                                                                            \
          "muls r2, r3, r2\n\t" NARROW_V6M_SPLIT_TILE("r4", "r2")                                           \
          "subs r7, r7, #1\n\t"                                                                             \
          "bne  5b\n"                                                                                       \
          "6:\n\t"                                                                                          \
          ".if " #height " > 1\n\t"                                                                         \
          "mov  r2, lr\n\t"                                                                                 \
          "ldm  r2!, {r0}\n\t"                                                                              \
          "cmp  r0, #0\n\t" /* rows end with a null pointer */                                              \
          "beq  4f\n\t"                                                                                     \
          "b    2b\n"                                                                                       \
          "4:\n\t"                                                                                          \
          ".endif\n\t" NARROW_V6M_FINISH_TILE_##end                                                         \
          "str  r5, [sp, #4]\n\t"                                                                           \
          "ldr  r3, [sp, #8]\n\t"                                                                           \
          "subs r3, r3, #1\n\t"                                                                             \
          "str  r3, [sp, #8]\n\t"                                                                           \
          ".if (" #channels ") & 1\n\t" /* the last pair begins one channel earlier */                      \
          "cmp  r3, #1\n\t"                                                                                 \
          "bne  6f\n\t"                                                                                     \
          "ldr  r4, 5f\n\t"                                                                                 \
          "subs r5, r5, r4\n\t"                                                                             \
          "str  r5, [sp, #4]\n"                                                                             \
          "b    1b\n"                                                                                       \
          ".align 2\n"                                                                                      \
          "5:\n\t"                                                                                          \
          ".word " NARROW_V6M_NEXT_##end(#channel) "\n"                                                     \
          "6:\n\t"                                                                                          \
          "cmp  r3, #0\n\t"                                                                                 \
          ".endif\n\t"                                                                                      \
          "beq  4f\n\t"                                                                                     \
          "b    1b\n"                                                                                       \
          "4:\n\t"                                                                                          \
          "add  sp, sp, #20\n\t"                                                                            \
          NARROW_V6M_RETURN                                                                                 \
          NARROW_ASSEMBLY_END(#name));

#else

/* Sums of channels A and B for both pixels: no arrays, which gcc would leave in memory. */
typedef struct {
  int32_t a0, a1, b0, b1;
} narrow_pair_of_sums;

/* Words of inputs times weights of both channels, added to the sums of their two pixels. */
static NARROW_INLINE void narrow_pair_split(int32_t a, int32_t b, narrow_pair_of_sums *sums) {
  const int32_t low_a = (int16_t)a, low_b = (int16_t)b;
  sums->a0 += low_a;
  sums->a1 += (a - low_a) >> 16;
  sums->b0 += low_b;
  sums->b1 += (b - low_b) >> 16;
}

/* The products of a block. */
static NARROW_INLINE void narrow_pair_block(const int32_t *x, const int32_t *weights, int32_t steps,
                                            narrow_pair_of_sums *sums) {
  int32_t a = 0, b = 0;
  NARROW_WRITTEN_OUT
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t first = x[2 * step], second = x[2 * step + 1];
    a += first * narrow_byte(weights + step, 0) + second * narrow_byte(weights + step, 2);
    b += first * narrow_byte(weights + step, 1) + second * narrow_byte(weights + step, 3);
  }
  narrow_pair_split(a, b, sums);
}

/* Channel c of a pair, `at` its first output. weights: what is behind those of the pair. */
static NARROW_INLINE void narrow_pair_end(narrow_end end, const int32_t *weights, int32_t c, int32_t first,
                                          int32_t second, void *output, int32_t at, int32_t pixel) {
  if (end == NARROW_END_NONE) {
    ((int32_t *)output)[at] = first;
    ((int32_t *)output)[at + 1] = second;
  } else {
    const int8_t y = narrow_tile_end(end, weights, c, first), next = narrow_tile_end(end, weights, c, second);
    ((int8_t *)output)[at] = y;
    ((int8_t *)output)[at + pixel] = next;
  }
}

static NARROW_INLINE void narrow_conv_2d_tile_v6m(const int32_t *const *rows, void *output, const int32_t *weights,
                                                  narrow_end end, int32_t height, int32_t blocks, int32_t block,
                                                  int32_t rest, int32_t channels, int32_t pixel, int32_t channel) {
  const int32_t next = end == NARROW_END_NONE ? 2 : channel;
  for (int32_t pair = 0; pair < channels; pair += 2) {
    const int32_t at = (pair + 2 > channels ? channels - 2 : pair) * next;
    narrow_pair_of_sums sums = {weights[0], weights[0], weights[1], weights[1]};
    weights += 2;
    for (int32_t ky = 0; ky < height; ++ky) {
      const int32_t *x = rows[ky];
      for (int32_t i = 0; i < blocks; ++i, x += 2 * block, weights += block) {
        narrow_pair_block(x, weights, block, &sums);
      }
      narrow_pair_block(x, weights, rest, &sums);
      x += 2 * rest;
      weights += rest;
      for (int32_t corrections = *weights++; corrections > 0; --corrections, ++weights) {
        const int32_t missed = x[-(*weights & 0xffff) / 4];
        narrow_pair_split(missed * narrow_byte(weights, 2), missed * narrow_byte(weights, 3), &sums);
      }
    }
    narrow_pair_end(end, weights, 0, sums.a0, sums.a1, output, at, pixel);
    narrow_pair_end(end, weights, 1, sums.b0, sums.b1, output, at + next, pixel);
    weights += narrow_tile_tail(end);
  }
}

#define NARROW_CONV_2D_TILES_V6M(name, end, height, loops, unrolled, block, rest, channels, pixel, channel)      \
  static void name(const int32_t *const *rows, void *output, const int32_t *weights) {                           \
    narrow_conv_2d_tile_v6m(rows, output, weights, NARROW_LOOP_##end, height, (loops) * (unrolled), block, rest, \
                            channels, pixel, channel);                                                           \
  }

#endif

/* Words of two elements each: to[i] = a[i] + 2^16 * b[i]. A step of 0 repeats an element. */
static NARROW_INLINE int32_t *narrow_pair_up(const int8_t *a, int32_t step_a, const int8_t *b, int32_t step_b,
                                             int32_t count, int32_t *to) {
  const int32_t *const end = to + count;
  if (step_a == 1 && step_b == 1) {
    for (const int32_t *const fours = to + (count & ~3); to < fours; to += 4, a += 4, b += 4) {
      to[0] = a[0] + b[0] * (1 << 16);
      to[1] = a[1] + b[1] * (1 << 16);
      to[2] = a[2] + b[2] * (1 << 16);
      to[3] = a[3] + b[3] * (1 << 16);
    }
  }
  for (; to < end; a += step_a, b += step_b) *to++ = *a + *b * (1 << 16);
  return to;
}

/* A 1x1 convolution of stride 1 without padding; the output has two pixels or more in an image, the last tile may
 * compute one again. scratch: input_channels words and 1 more, then for sums 8 bytes a channel. */
static NARROW_WALK void narrow_conv_2d_pixels_v6m(const narrow_window *window, const narrow_tile_layer *layer,
                                                  int32_t image, const int8_t *input, int8_t *output,
                                                  int8_t *scratch) {
  const int32_t depth = window->input_channels;
  const int32_t pixels = window->output_height * window->output_width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  const int32_t *rows[2];
  rows[0] = columns;
  rows[1] = 0;
  columns[depth] = 0; /* an odd depth reads one more, with a weight of 0 */
  for (int32_t batch = 0; batch < window->batches; ++batch, input += pixels * depth, output += image) {
    for (int32_t i = 0; i < pixels; i += 2) {
      const int32_t first = i + 2 > pixels ? pixels - 2 : i;
      const int8_t *const from = input + first * depth;
      narrow_pair_up(from, 1, from + depth, 1, depth, columns);
      narrow_tile(layer, 2, rows, output + first * layer->pixel, columns + depth + 1);
    }
  }
}

/* Any convolution: the inputs under two windows side by side.
 *
 * depth: kernel_height * kernel_width * input_channels.
 * scratch: depth words and 1 more, 2 * depth bytes up to a multiple of 4, then for sums 8 bytes a channel. */
static NARROW_WALK void narrow_conv_2d_windows_v6m(const narrow_window *window, const narrow_tile_layer *layer,
                                                   int32_t depth, int32_t image, const int8_t *input,
                                                   int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t width = own.output_width, pixels = own.output_height * width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int8_t *const patches = scratch + 4 * (depth + 1);
  int32_t *const sums = (int32_t *)(void *)(patches + ((2 * depth + 3) & ~3));
  const int32_t *rows[2];
  rows[0] = columns;
  rows[1] = 0;
  columns[depth] = 0;
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image) {
    for (int32_t i = 0; i < pixels; i += 2) {
      const int32_t first = i + 2 > pixels ? pixels - 2 : i;
      for (int32_t p = 0; p < 2; ++p) {
        const int32_t y = (first + p) / width, x = first + p - y * width;
        const int32_t top = y * own.stride_height - own.pad_top, left = x * own.stride_width - own.pad_left;
        narrow_gather(&own, input, top, left, patches + p * depth);
      }
      narrow_pair_up(patches, 1, patches + depth, 1, depth, columns);
      narrow_tile(layer, 2, rows, output + first * layer->pixel, sums);
    }
    input += own.input_height * own.input_width * own.input_channels;
  }
}

/* One row of an image with its padding, every element paired with that of the next window.
 *
 * bytes: of the row of the image; left: padding before it; next: from an element to that of the next window. */
static NARROW_INLINE void narrow_pair_row(const int8_t *row, int32_t bytes, const int8_t *padding, int32_t left,
                                          int32_t next, int32_t words, int32_t *to) {
  for (int32_t i = 0; i < words;) {
    const int32_t a = i - left, b = a + next;
    int32_t until = words;
    if (a < 0 && -a + i < until) until = left;
    if (a >= 0 && a < bytes && left + bytes < until) until = left + bytes;
    if (b < 0 && left - next < until) until = left - next;
    if (b >= 0 && b < bytes && left + bytes - next < until) until = left + bytes - next;
    const int inside_a = a >= 0 && a < bytes, inside_b = b >= 0 && b < bytes;
    to = narrow_pair_up(inside_a ? row + a : padding, inside_a, inside_b ? row + b : padding, inside_b, until - i, to);
    i = until;
  }
}

/* A convolution with the rows under the kernel paired once, with their padding, for all its windows. Dilations are 1,
 * the output is two pixels wide or more.
 *
 * words: of a row with its padding. flat: 0, or how many words of a row are under a window, which are copied side by
 * side then, for a kernel of a single row: that is faster where rows are short and channels many.
 * scratch: kernel_height * (words + flat) + 1 words, then for sums 8 bytes a channel. */
static NARROW_WALK void narrow_conv_2d_rows_v6m(const narrow_window *window, const narrow_tile_layer *layer,
                                                int32_t words, int32_t flat, int32_t image, const int8_t *input,
                                                int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t depth = own.input_channels, height = own.kernel_height, width = own.output_width;
  const int32_t bytes = own.input_width * depth, next = own.stride_width * depth;
  int32_t *const ring = (int32_t *)(void *)scratch;
  int32_t *const columns = ring + height * words;
  int32_t *const sums = columns + height * flat + 1;
  const int32_t *rows[NARROW_TILE_ROWS + 1];
  const int32_t *const side_by_side[1] = {columns};
  const int8_t padding = own.padding_value;
  columns[height * flat] = 0; /* an odd number of words under a window reads one more, with a weight of 0 */
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image, input += own.input_height * bytes) {
    int32_t ready = 0, slot = 0; /* rows of the image with its padding that are or were in the ring; of the next one */
    for (int32_t y = 0; y < own.output_height; ++y) {
      const int32_t top = y * own.stride_height;
      if (ready < top) ready = top;
      for (; ready < top + height; ++ready) {
        const int32_t at = ready - own.pad_top;
        const int outside = at < 0 || at >= own.input_height;
        narrow_pair_row(input + (outside ? 0 : at * bytes), outside ? 0 : bytes, &padding, own.pad_left * depth, next,
                        words, ring + slot * words);
        slot = slot + 1 == height ? 0 : slot + 1;
      }
      /* The slot to be filled next holds the oldest row. */
      for (int32_t ky = 0, from = slot; ky < height; ++ky, from = from + 1 == height ? 0 : from + 1) {
        rows[ky] = ring + from * words;
      }
      rows[height] = 0;
      int8_t *to = output + y * width * layer->pixel;
      for (int32_t x = 0;;) {
        if (flat != 0) {
          int32_t *column = columns;
          for (int32_t ky = 0; ky < height; ++ky) {
            const int32_t *const from = rows[ky];
            for (int32_t i = 0; i < flat; ++i) *column++ = from[i];
          }
        }
        narrow_tile(layer, 2, flat != 0 ? side_by_side : rows, to, sums);
        const int32_t ahead = x + 4 <= width ? 2 : width - 2 - x; /* the last tile may begin at an odd pixel */
        if (ahead == 0) break;
        x += ahead;
        to += ahead * layer->pixel;
        for (int32_t ky = 0; ky < height; ++ky) rows[ky] += ahead * next;
      }
    }
  }
}

/* Writes the inputs under a window into words: `upper` is 0 for the first pixel of a tile, 1 for the second one.
 *
 * lines: the rows under it, from + row bytes of each. */
static NARROW_INLINE void narrow_put_column(const int8_t *const *lines, int32_t height, int32_t from, int32_t row,
                                            int upper, int32_t *to) {
  for (int32_t ky = 0; ky < height; ++ky) {
    const int8_t *x = lines[ky] + from;
    for (const int8_t *const end = x + row; x < end; ++x, ++to) *to = upper ? *to + *x * (1 << 16) : *x;
  }
}

/* A convolution whose tiles cross rows of the output, with the rows under the kernel kept with their padding. Dilations
 * are 1; the output has two pixels or more in an image. Of an odd number of them the second one is computed twice.
 *
 * length: bytes of a row with its padding.
 * scratch: kernel_height * kernel_width * input_channels words and 1 more, for sums 8 bytes a channel, then
 * kernel_height * length bytes. */
static NARROW_WALK void narrow_conv_2d_columns_v6m(const narrow_window *window, const narrow_tile_layer *layer,
                                                   int32_t length, int32_t image, const int8_t *input,
                                                   int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t depth = own.input_channels, height = own.kernel_height, width = own.output_width;
  const int32_t bytes = own.input_width * depth, row = own.kernel_width * depth, pixels = own.output_height * width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int32_t *const sums = columns + height * row + 1;
  int8_t *const ring = (int8_t *)(sums + (layer->end == NARROW_END_NONE ? 0 : 2 * layer->channels));
  const int32_t *const rows[2] = {columns, 0};
  const int8_t *lines[NARROW_TILE_ROWS];
  columns[height * row] = 0; /* an odd number of inputs reads one more, with a weight of 0 */
  narrow_fill(own.padding_value, height * length, ring);
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image, input += own.input_height * bytes) {
    int32_t ready = 0, slot = 0; /* rows of the image with its padding that are or were in the ring; of the next one */
    int second = 0;
    for (int32_t y = 0, pixel = 0; y < own.output_height; ++y) {
      const int32_t top = y * own.stride_height;
      if (ready < top) ready = top;
      for (; ready < top + height; ++ready) {
        const int32_t at = ready - own.pad_top;
        if (at < 0 || at >= own.input_height) {
          narrow_fill(own.padding_value, length, ring + slot * length);
        } else {
          narrow_copy(input + at * bytes, bytes, ring + slot * length + own.pad_left * depth);
        }
        slot = slot + 1 == height ? 0 : slot + 1;
      }
      for (int32_t ky = 0, from = slot; ky < height; ++ky, from = from + 1 == height ? 0 : from + 1) {
        lines[ky] = ring + from * length;
      }
      for (int32_t x = 0; x < width; ++x, ++pixel) {
        const int32_t from = x * own.stride_width * depth;
        narrow_put_column(lines, height, from, row, second, columns);
        second = !second;
        if (second) continue;
        narrow_tile(layer, 2, rows, output + (pixel - 1) * layer->pixel, sums);
        if (pixel == 1 && pixels % 2 != 0) {
          narrow_put_column(lines, height, from, row, 0, columns);
          second = 1;
        }
      }
    }
  }
}

#endif
