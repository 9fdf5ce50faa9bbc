/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution in tiles of 4 pixels and 2 channels, for cores with the DSP extension: 17 cycles for 16 products.
 *
 * Inputs are widened once to pairs of int16. A word of weights holds (A k, B k, A k', B k') of two channels A and B, so
 * that two SXTB16 unpack both; k, k' are 0, 2 and then 1, 3 of every four, the order in which SXTB16 widens inputs.
 *
 * NARROW_CONV_2D_TILES_DSP(name, end, height, loops, unrolled, rest, pitch, pairs, pixel, channel) makes a
 * narrow_tile_kernel:
 *
 *   end      SHIFT, MULTIPLY or STOCK (folded): int8 outputs; SUM: int32 sums [pairs, 2 channels, 4 pixels], whatever
 *            pixel and channel.
 *   height   rows of the kernel.
 *   loops, unrolled, rest  words of inputs in a row under the window of one pixel: loops * unrolled + rest.
 *   pitch    bytes from a pixel to the next one in the rows, at most 1364.
 *   pairs    of output channels.
 *   pixel, channel  bytes from output to output, 3 * pixel at most 4095, channel at most 32767.
 *
 * weights: [pairs, words]. records: one for each pair, see narrow_tiles.h. */
#ifndef NARROW_CONV_2D_TILES_DSP_H
#define NARROW_CONV_2D_TILES_DSP_H

#include "narrow_assembly.h"
#include "narrow_dsp.h"
#include "narrow_tiles.h"

#if NARROW_DSP_LOOPS

/* r1: inputs, r2: weights, r4-r7: sums of A, r8-r11: sums of B, r0, r3, r12, lr: all else.
 * Stack: 0 rows, 4 output, 8 records, 12 pairs left, 16 the row at hand, 20 end of the loop, 24 weights. */
#define NARROW_TILE_STEP(pitch)         \
  "ldr    r3, [r2], #4\n\t"             \
  "ldr    r0, [r1, #" pitch "]\n\t"     \
  "ldr    lr, [r1, #2*" pitch "]\n\t"   \
  "sxtb16 r12, r3\n\t"                  \
  "sxtb16 r3, r3, ror #8\n\t"           \
  "smlad  r5, r0, r12, r5\n\t"          \
  "smlad  r9, r0, r3, r9\n\t"           \
  "smlad  r6, lr, r12, r6\n\t"          \
  "smlad  r10, lr, r3, r10\n\t"         \
  "ldr    r0, [r1, #3*" pitch "]\n\t"   \
  "ldr    lr, [r1], #4\n\t"             \
  "smlad  r7, r0, r12, r7\n\t"          \
  "smlad  r11, r0, r3, r11\n\t"         \
  "smlad  r4, lr, r12, r4\n\t"          \
  "smlad  r8, lr, r3, r8\n\t"

#define NARROW_TILE_SHIFTED(sum, shift) \
  "asrs " sum ", " sum ", " shift "\n\t" \
  "ssat " sum ", #8, " sum "\n\t"

/* r0: records, r12: their shift of A, lr: of B. */
#define NARROW_TILE_SHIFTED_8                                                                             \
  NARROW_TILE_SHIFTED("r4", "r12") NARROW_TILE_SHIFTED("r5", "r12") NARROW_TILE_SHIFTED("r6", "r12")      \
  NARROW_TILE_SHIFTED("r7", "r12") NARROW_TILE_SHIFTED("r8", "lr") NARROW_TILE_SHIFTED("r9", "lr")        \
  NARROW_TILE_SHIFTED("r10", "lr") NARROW_TILE_SHIFTED("r11", "lr")

#define NARROW_TILE_SCALED(sum, multiplier, fold) "mla " sum ", " sum ", " multiplier ", " fold "\n\t"

#define NARROW_TILE_STORE(pixel, channel)  \
  "ldr  r3, [sp, #4]\n\t"                  \
  "movw lr, #" channel "\n\t"              \
  "strb r4, [r3]\n\t"                      \
  "strb r5, [r3, #" pixel "]\n\t"          \
  "strb r6, [r3, #2*" pixel "]\n\t"        \
  "strb r7, [r3, #3*" pixel "]\n\t"        \
  "add  r3, r3, lr\n\t"                    \
  "strb r8, [r3]\n\t"                      \
  "strb r9, [r3, #" pixel "]\n\t"          \
  "strb r10, [r3, #2*" pixel "]\n\t"       \
  "strb r11, [r3, #3*" pixel "]\n\t"       \
  "add  r3, r3, lr\n\t"                    \
  "str  r3, [sp, #4]\n\t"

#define NARROW_TILE_FINISH_SHIFT(pixel, channel) \
  "ldm  r0!, {r12, lr}\n\t" NARROW_TILE_SHIFTED_8 NARROW_TILE_STORE(pixel, channel)

#define NARROW_TILE_FINISH_MULTIPLY(pixel, channel)                                                              \
  "ldm  r0!, {r1, r3, r12, lr}\n\t" NARROW_TILE_SCALED("r4", "r1", "r12") NARROW_TILE_SCALED("r5", "r1", "r12")  \
  NARROW_TILE_SCALED("r6", "r1", "r12") NARROW_TILE_SCALED("r7", "r1", "r12")                                    \
  NARROW_TILE_SCALED("r8", "r3", "lr") NARROW_TILE_SCALED("r9", "r3", "lr")                                      \
  NARROW_TILE_SCALED("r10", "r3", "lr") NARROW_TILE_SCALED("r11", "r3", "lr")                                    \
  "ldm  r0!, {r12, lr}\n\t" NARROW_TILE_SHIFTED_8 NARROW_TILE_STORE(pixel, channel)

/* Twice the sum times the multiplier, its upper word rounded, and the fold, less 1 for negative sums. */
#define NARROW_TILE_STOCK_SCALED(sum, multiplier, fold) \
  "lsls " sum ", " sum ", #1\n\t"                       \
  "add  r2, " fold ", " sum ", asr #31\n\t"            \
  "smmlar " sum ", " sum ", " multiplier ", r2\n\t"

#define NARROW_TILE_FINISH_STOCK(pixel, channel)                                                     \
  "str  r2, [sp, #24]\n\t"                                                                           \
  "ldm  r0!, {r1, r3, r12, lr}\n\t"                                                                  \
  NARROW_TILE_STOCK_SCALED("r4", "r1", "r12") NARROW_TILE_STOCK_SCALED("r5", "r1", "r12")            \
  NARROW_TILE_STOCK_SCALED("r6", "r1", "r12") NARROW_TILE_STOCK_SCALED("r7", "r1", "r12")            \
  NARROW_TILE_STOCK_SCALED("r8", "r3", "lr") NARROW_TILE_STOCK_SCALED("r9", "r3", "lr")              \
  NARROW_TILE_STOCK_SCALED("r10", "r3", "lr") NARROW_TILE_STOCK_SCALED("r11", "r3", "lr")            \
  "ldm  r0!, {r12, lr}\n\t" NARROW_TILE_SHIFTED_8 NARROW_TILE_STORE(pixel, channel)                   \
  "ldr  r2, [sp, #24]\n\t"

#define NARROW_TILE_FINISH_SUM(pixel, channel) \
  "ldr  r3, [sp, #4]\n\t"                      \
  "stm  r3!, {r4-r11}\n\t"                     \
  "str  r3, [sp, #4]\n\t"

#define NARROW_CONV_2D_TILES_DSP(name, end, height, loops, unrolled, rest, pitch, pairs, pixel, channel)         \
  NARROW_C narrow_tile_kernel name;                                                                              \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                           \
          "push {r4-r11, lr}\n\t"                                                                                \
          "sub  sp, sp, #28\n\t"                                                                                 \
          "str  r0, [sp]\n\t"                                                                                    \
          "str  r1, [sp, #4]\n\t"                                                                                \
          "str  r3, [sp, #8]\n\t"                                                                                \
          "movw r3, #" #pairs "\n\t"                                                                             \
          "str  r3, [sp, #12]\n"                                                                                 \
          "1:\n\t" /* two channels */                                                                            \
          "ldr  r3, [sp, #8]\n\t"                                                                                \
          "ldr  r0, [sp]\n\t"                                                                                    \
          "ldr  r4, [r3], #4\n\t"                                                                                \
          "ldr  r8, [r3], #4\n\t"                                                                                \
          "ldr  r1, [r0], #4\n\t"                                                                                \
          "str  r3, [sp, #8]\n\t"                                                                                \
          "mov  r5, r4\n\t"                                                                                      \
          "mov  r6, r4\n\t"                                                                                      \
          "mov  r7, r4\n\t"                                                                                      \
          "mov  r9, r8\n\t"                                                                                      \
          "mov  r10, r8\n\t"                                                                                     \
          "mov  r11, r8\n"                                                                                       \
          "2:\n\t" /* a row of the kernel */                                                                     \
          ".if " #height " > 1\n\t"                                                                              \
          "str  r0, [sp, #16]\n\t"                                                                               \
          ".endif\n\t"                                                                                           \
          ".if " #loops " > 1\n\t"                                                                               \
          "add  r0, r1, #4*" #loops "*" #unrolled "\n\t"                                                         \
          "str  r0, [sp, #20]\n"                                                                                 \
          "3:\n\t"                                                                                               \
          ".endif\n\t"                                                                                           \
          ".rept " #unrolled "\n\t" NARROW_TILE_STEP(#pitch)                                                     \
          ".endr\n\t"                                                                                            \
          ".if " #loops " > 1\n\t"                                                                               \
          "ldr  r0, [sp, #20]\n\t"                                                                               \
          "cmp  r1, r0\n\t"                                                                                      \
          "bne.w  3b\n\t"                                                                                        \
          ".endif\n\t"                                                                                           \
          ".rept " #rest "\n\t" NARROW_TILE_STEP(#pitch)                                                         \
          ".endr\n\t"                                                                                            \
          ".if " #height " > 1\n\t"                                                                              \
          "ldr  r0, [sp, #16]\n\t"                                                                               \
          "ldr  r1, [r0], #4\n\t"                                                                                \
          "cmp  r1, #0\n\t" /* rows end with a null pointer */                                                   \
          "bne.w  2b\n\t"                                                                                        \
          ".endif\n\t"                                                                                           \
          "ldr  r0, [sp, #8]\n\t" NARROW_TILE_FINISH_##end(#pixel, #channel)                                     \
          "str  r0, [sp, #8]\n\t"                                                                                \
          "ldr  r3, [sp, #12]\n\t"                                                                               \
          "subs r3, r3, #1\n\t"                                                                                  \
          "str  r3, [sp, #12]\n\t"                                                                               \
          "bne.w  1b\n\t"                                                                                        \
          "add  sp, sp, #28\n\t"                                                                                 \
          "pop  {r4-r11, pc}\n\t"                                                                                \
          NARROW_ASSEMBLY_END(#name));

#else

static NARROW_INLINE void narrow_conv_2d_tile_dsp(const int32_t *const *rows, void *output, const int32_t *weights,
                                                  const int32_t *records, narrow_end end, int32_t height, int32_t words,
                                                  int32_t pitch, int32_t pairs, int32_t pixel, int32_t channel) {
  int8_t *y = (int8_t *)output;
  int32_t *sum = (int32_t *)output;
  for (int32_t pair = 0; pair < pairs; ++pair, weights += height * words, records += narrow_tile_record(end)) {
    for (int32_t c = 0; c < 2; ++c, y += channel) {
      for (int32_t p = 0; p < 4; ++p) {
        int32_t acc = records[c];
        for (int32_t i = 0; i < height * words; ++i) {
          const int32_t x = rows[i / words][i % words + p * pitch / 4];
          acc = narrow_mac2(x, c != 0 ? narrow_odd(weights[i]) : narrow_even(weights[i]), acc);
        }
        if (end == NARROW_END_NONE) {
          *sum++ = acc;
        } else {
          y[p * pixel] = narrow_tile_end(end, records, c, acc);
        }
      }
    }
  }
}

#define NARROW_CONV_2D_TILES_DSP(name, end, height, loops, unrolled, rest, pitch, pairs, pixel, channel)           \
  static void name(const int32_t *const *rows, void *output, const int32_t *weights, const int32_t *records) {     \
    narrow_conv_2d_tile_dsp(rows, output, weights, records, NARROW_LOOP_##end, height,                             \
                            (loops) * (unrolled) + (rest), pitch, pairs, pixel, channel);                          \
  }

#endif

/* Widens a multiple of 4 bytes to as many int16. */
static NARROW_INLINE int32_t *narrow_widen(const int8_t *from, int32_t bytes, int32_t *to) {
  const int8_t *const end = from + bytes;
  const int8_t *const sixteens = from + (bytes & ~15);
  for (; from < sixteens; from += 16, to += 8) {
    const int32_t a = narrow_word(from), b = narrow_word(from + 4), c = narrow_word(from + 8);
    const int32_t d = narrow_word(from + 12);
    to[0] = narrow_even(a);
    to[1] = narrow_odd(a);
    to[2] = narrow_even(b);
    to[3] = narrow_odd(b);
    to[4] = narrow_even(c);
    to[5] = narrow_odd(c);
    to[6] = narrow_even(d);
    to[7] = narrow_odd(d);
  }
  for (; from < end; from += 4, to += 2) {
    const int32_t x = narrow_word(from);
    to[0] = narrow_even(x);
    to[1] = narrow_odd(x);
  }
  return to;
}

/* A 1x1 convolution of stride 1 without padding; input_channels is a multiple of 4.
 *
 * For all layers: the output has 4 pixels or more, here in an image, below in a row; a tile that would go beyond them
 * starts earlier and computes some pixels again. image: bytes from image to image of the output.
 * scratch: 8 * input_channels bytes, then for sums 16 bytes a channel. */
static NARROW_INLINE void narrow_conv_2d_pixels_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                    int32_t image, const int8_t *input, int8_t *output,
                                                    int8_t *scratch) {
  const int32_t depth = window->input_channels;
  const int32_t pixels = window->output_height * window->output_width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  const int32_t *rows[2] = {columns, 0};
  for (int32_t batch = 0; batch < window->batches; ++batch, input += pixels * depth, output += image) {
    for (int32_t i = 0; i < pixels; i += 4) {
      const int32_t first = i + 4 > pixels ? pixels - 4 : i;
      narrow_widen(input + first * depth, 4 * depth, columns);
      narrow_tile(layer, 4, rows, output + first * layer->pixel, columns + 2 * depth);
    }
  }
}

/* Any convolution: the inputs under each window side by side, with zeros of weights up to a multiple of 4.
 *
 * depth4: kernel_height * kernel_width * input_channels, rounded up to a multiple of 4.
 * scratch: 9 * depth4 bytes, then for sums 16 bytes a channel. */
static NARROW_INLINE void narrow_conv_2d_windows_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                     int32_t depth4, int32_t image, const int8_t *input,
                                                     int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t width = own.output_width, pixels = own.output_height * width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int8_t *const patch = scratch + 8 * depth4;
  const int32_t *rows[2] = {columns, 0};
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image) {
    for (int32_t i = 0; i < pixels; i += 4) {
      const int32_t first = i + 4 > pixels ? pixels - 4 : i;
      int32_t *to = columns;
      for (int32_t pixel = first; pixel < first + 4; ++pixel) {
        const int32_t y = pixel / width, x = pixel - y * width;
        narrow_gather(&own, input, y * own.stride_height - own.pad_top, x * own.stride_width - own.pad_left, patch);
        to = narrow_widen(patch, depth4, to);
      }
      narrow_tile(layer, 4, rows, output + first * layer->pixel, columns + 2 * depth4);
    }
    input += own.input_height * own.input_width * own.input_channels;
  }
}

/* A convolution with the rows under the kernel widened once, with their padding, for all its windows. Dilations are 1;
 * input_channels is a multiple of 4, or 3, which become 4.
 *
 * words: of a row with its padding. scratch: kernel_height * words words, then for sums 16 bytes a channel. */
static NARROW_INLINE void narrow_conv_2d_rows_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                  int32_t words, int32_t image, const int8_t *input, int8_t *output,
                                                  int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t depth4 = (own.input_channels + 3) & ~3, height = own.kernel_height, width = own.output_width;
  const int32_t bytes = own.input_width * own.input_channels;
  int32_t *const ring = (int32_t *)(void *)scratch;
  int32_t *const sums = ring + height * words;
  const int32_t *rows[NARROW_TILE_ROWS + 1];
  const int32_t padding = (int32_t)(((uint32_t)own.padding_value & 0xffffu) * 0x10001u);
  for (int32_t i = 0; i < height * words; ++i) ring[i] = padding;
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image, input += own.input_height * bytes) {
    int32_t ready = 0; /* rows of the image with its padding that are or were in the ring */
    for (int32_t y = 0; y < own.output_height; ++y) {
      const int32_t top = y * own.stride_height;
      if (ready < top) ready = top;
      for (; ready < top + height; ++ready) {
        int32_t *to = ring + ready % height * words;
        const int32_t at = ready - own.pad_top;
        if (at < 0 || at >= own.input_height) {
          for (int32_t i = 0; i < words; ++i) to[i] = padding;
        } else if (own.input_channels == 3) {
          const int8_t *from = input + at * bytes;
          to += 2 * own.pad_left;
          for (const int8_t *const last = from + bytes - 3; from < last; from += 3, to += 2) {
            const int32_t x = narrow_word(from);
            to[0] = narrow_even(x);
            to[1] = narrow_odd(x);
          }
          to[0] = (int32_t)(((uint32_t)from[0] & 0xffffu) | ((uint32_t)from[2] << 16)); /* nothing may be behind it */
          to[1] = from[1];
        } else {
          narrow_widen(input + at * bytes, bytes, to + own.pad_left * depth4 / 2);
        }
      }
      for (int32_t i = 0; i < width; i += 4) {
        const int32_t first = i + 4 > width ? width - 4 : i;
        const int32_t left = first * own.stride_width * depth4 / 2;
        for (int32_t ky = 0; ky < height; ++ky) rows[ky] = ring + (top + ky) % height * words + left;
        rows[height] = 0;
        narrow_tile(layer, 4, rows, output + (y * width + first) * layer->pixel, sums);
      }
    }
  }
}

#endif
