/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise 3x3 convolution plane by plane, for ARMv6-M and ARMv7-M without DSP: two outputs in one product.
 *
 * A plane is kept as words x[i] + 2^16 * x[i + 2]; a weight times such a word is a product for two outputs. The three
 * products of a row of taps are added before the halves are split, which is exact while the lower one is an int16:
 * |sum| <= 128 * (|w0| + |w1| + |w2|) < 2^15, so the three weights may add up to 255. Where they do not, the third
 * product is split on its own.
 *
 * NARROW_DEPTHWISE_CONV_2D_PLANES_V6M(name, end, pitch, stride, fours, ones, pixel, split) makes a narrow_plane_kernel:
 *
 *   end     SHIFT, MULTIPLY or STOCK (folded): int8 outputs, as in narrow_kernels.h; SUM: int32 sums.
 *   pitch   words from row to row of the plane.
 *   stride  1 or 2, in both directions. At stride 2, of every four words the fourth, which is never read, is left out.
 *   fours, ones  the output is 4 * fours + ones wide, ones 0..3.
 *   pixel   bytes from output to output.
 *   split   how many of three products are added before they are split: 2 or 3.
 *
 * weights: 9 words, row by row. */
#ifndef NARROW_DEPTHWISE_CONV_2D_PLANES_V6M_H
#define NARROW_DEPTHWISE_CONV_2D_PLANES_V6M_H

#include "narrow_memory.h"
#include "narrow_planes.h"
#include "narrow_v6m.h"

#if NARROW_V6M_LOOPS

/* r0: plane, r7: weights, r8-r11: sums of four outputs, r12: from behind a row's words to the next row, lr: from behind
 * the last row's to the next four outputs, r1-r6: all else.
 * Stack: 0 start, 4 multiplier, 8 fold, 12 shift, 16 rows left, 20 end of the row, 24 output, 28 weights, 32 row. */

/* Adds the halves of r1 or r4 to two sums. */
#define NARROW_V6M_SPLIT(pair, low, high) \
  "sxth r5, " pair "\n\t"                 \
  "add  " low ", r5\n\t"                  \
  "subs " pair ", " pair ", r5\n\t"       \
  "asrs " pair ", " pair ", #16\n\t"      \
  "add  " high ", " pair "\n\t"

/* Four outputs of stride 1 and one row of taps, 33 cycles: outputs 0, 2 in r1, outputs 1, 3 in r6. */
#define NARROW_V6M_ROW_1(split)                                                                 \
  "ldm  r0!, {r1-r4}\n\t"                                                                       \
  "ldm  r7!, {r5}\n\t"                                                                          \
  "movs r6, r2\n\t"                                                                             \
  "muls r1, r5, r1\n\t"                                                                         \
  "muls r6, r5, r6\n\t"                                                                         \
  "ldm  r7!, {r5}\n\t"                                                                          \
  "muls r2, r5, r2\n\t"                                                                         \
  "adds r1, r1, r2\n\t"                                                                         \
  "movs r2, r3\n\t"                                                                             \
  "muls r2, r5, r2\n\t"                                                                         \
  "adds r6, r6, r2\n\t"                                                                         \
  ".if " split " < 3\n\t" NARROW_V6M_SPLIT("r1", "r8", "r10") NARROW_V6M_SPLIT("r6", "r9", "r11") \
  "ldm  r7!, {r5}\n\t"                                                                          \
  "movs r1, r3\n\t"                                                                             \
  "muls r1, r5, r1\n\t"                                                                         \
  "movs r6, r4\n\t"                                                                             \
  "muls r6, r5, r6\n\t"                                                                         \
  ".else\n\t"                                                                                   \
  "ldm  r7!, {r5}\n\t"                                                                          \
  "muls r3, r5, r3\n\t"                                                                         \
  "adds r1, r1, r3\n\t"                                                                         \
  "muls r4, r5, r4\n\t"                                                                         \
  "adds r6, r6, r4\n\t"                                                                         \
  ".endif\n\t" NARROW_V6M_SPLIT("r1", "r8", "r10") NARROW_V6M_SPLIT("r6", "r9", "r11")

/* Two outputs of stride 2 and one row of taps with the weights in r4-r6. */
#define NARROW_V6M_TWO_2(split, low, high)                                    \
  "ldm  r0!, {r1-r3}\n\t"                                                     \
  "muls r1, r4, r1\n\t"                                                       \
  "muls r2, r5, r2\n\t"                                                       \
  "adds r1, r1, r2\n\t"                                                       \
  "muls r3, r6, r3\n\t"                                                       \
  ".if " split " < 3\n\t"                                                     \
  "sxth r2, r1\n\t"                                                           \
  "add  " low ", r2\n\t"                                                      \
  "subs r1, r1, r2\n\t"                                                       \
  "asrs r1, r1, #16\n\t"                                                      \
  "add  " high ", r1\n\t"                                                     \
  "movs r1, r3\n\t"                                                           \
  ".else\n\t"                                                                 \
  "adds r1, r1, r3\n\t"                                                       \
  ".endif\n\t"                                                                \
  "sxth r2, r1\n\t"                                                           \
  "add  " low ", r2\n\t"                                                      \
  "subs r1, r1, r2\n\t"                                                       \
  "asrs r1, r1, #16\n\t"                                                      \
  "add  " high ", r1\n\t"

#define NARROW_V6M_ROW_2(split)                   \
  "ldm  r7!, {r4-r6}\n\t"                         \
  NARROW_V6M_TWO_2(split, "r8", "r9")             \
  NARROW_V6M_TWO_2(split, "r10", "r11")

/* One output, from lower halves. */
#define NARROW_V6M_ROW_ONE(split) \
  "ldm  r0!, {r1-r3}\n\t"         \
  "ldm  r7!, {r4-r6}\n\t"         \
  "muls r1, r4, r1\n\t"           \
  "muls r2, r5, r2\n\t"           \
  "adds r1, r1, r2\n\t"           \
  "muls r3, r6, r3\n\t"           \
  ".if " split " < 3\n\t"         \
  "sxth r1, r1\n\t"               \
  "add  r8, r1\n\t"               \
  "sxth r3, r3\n\t"               \
  "add  r8, r3\n\t"               \
  ".else\n\t"                     \
  "adds r1, r1, r3\n\t"           \
  "sxth r1, r1\n\t"               \
  "add  r8, r1\n\t"               \
  ".endif\n\t"

#define NARROW_V6M_THREE_ROWS(row) \
  "ldr  r7, [sp, #28]\n\t"         \
  "ldr  r1, [sp]\n\t"              \
  "mov  r8, r1\n\t"                \
  "mov  r9, r1\n\t"                \
  "mov  r10, r1\n\t"               \
  "mov  r11, r1\n\t" row           \
  "add  r0, r12\n\t" row           \
  "add  r0, r12\n\t" row           \
  "add  r0, lr\n\t"

/* The output in r1, from its sum; r2: shift, r3: output, r4: pixel, r5, r6: multiplier, fold. */
#define NARROW_V6M_FINISH_SHIFT                             \
  "asrs r1, r1, r2\n\t" NARROW_V6M_CLAMP("r1", "r7")        \
  "strb r1, [r3]\n\t"
#define NARROW_V6M_FINISH_MULTIPLY \
  "muls r1, r5, r1\n\t"            \
  "adds r1, r1, r6\n\t"            \
  "asrs r1, r1, r2\n\t" NARROW_V6M_CLAMP("r1", "r7") \
  "strb r1, [r3]\n\t"
#define NARROW_V6M_FINISH_STOCK "strb r1, [r3]\n\t"
#define NARROW_V6M_FINISH_SUM "str r1, [r3]\n\t"

#define NARROW_V6M_BEFORE_SHIFT(count) "ldr r2, [sp, #12]\n\t"
#define NARROW_V6M_BEFORE_MULTIPLY(count) \
  "ldr r2, [sp, #12]\n\t"                 \
  "ldr r5, [sp, #4]\n\t"                  \
  "ldr r6, [sp, #8]\n\t"
#define NARROW_V6M_BEFORE_SUM(count)

/* Of `count` sums, into outputs in their place. */
#define NARROW_V6M_BEFORE_STOCK(count)                        \
  "ldr r4, [sp, #4]\n\t"                                      \
  "ldr r6, [sp, #8]\n\t"                                      \
  "ldr r7, [sp, #12]\n\t"                                     \
  NARROW_V6M_STOCK_SPLIT NARROW_V6M_STOCK("r8")               \
  ".if " count " > 1\n\t" NARROW_V6M_STOCK("r9") ".endif\n\t"  \
  ".if " count " > 2\n\t" NARROW_V6M_STOCK("r10") ".endif\n\t" \
  ".if " count " > 3\n\t" NARROW_V6M_STOCK("r11") ".endif\n\t"

#define NARROW_V6M_STORE(end, sum)                      \
  "mov  r1, " sum "\n\t" NARROW_V6M_FINISH_##end        \
  "adds r3, r3, r4\n\t"

#define NARROW_DEPTHWISE_CONV_2D_PLANES_V6M(name, end, pitch, stride, fours, ones, pixel, split)                      \
  NARROW_C narrow_plane_kernel name;                                                                                  \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                                \
          NARROW_V6M_SAVE                                                                                             \
          "sub  sp, sp, #36\n\t"                                                                                      \
          "str  r0, [sp, #32]\n\t"                                                                                    \
          "str  r1, [sp, #24]\n\t"                                                                                    \
          "str  r2, [sp, #28]\n\t"                                                                                    \
          "ldm  r3!, {r4-r7}\n\t" /* start, multiplier, fold, shift */                                                \
          "ldr  r3, [r3]\n\t"     /* rows */                                                                          \
          "mov  r1, sp\n\t"                                                                                           \
          "stm  r1!, {r4-r7}\n\t"                                                                                     \
          "str  r3, [sp, #16]\n"                                                                                      \
          "1:\n\t" /* a row */                                                                                        \
          ".if " #fours " > 0\n\t"                                                                                    \
          "ldr  r1, =" #fours "*8*(1+" #stride ")\n\t"                                                                \
          "adds r1, r0, r1\n\t"                                                                                       \
          "str  r1, [sp, #20]\n\t"                                                                                    \
          "ldr  r1, =4*" #pitch "-8*(1+" #stride ")\n\t"                                                              \
          "mov  r12, r1\n\t"                                                                                          \
          "ldr  r1, =-8*" #pitch "\n\t"                                                                               \
          "mov  lr, r1\n"                                                                                             \
          "2:\n\t" NARROW_V6M_THREE_ROWS(NARROW_V6M_ROW_##stride(#split))                                             \
          NARROW_V6M_BEFORE_##end("4")                                                                                \
          "ldr  r3, [sp, #24]\n\t"                                                                                    \
          "ldr  r4, =" #pixel "\n\t" NARROW_V6M_STORE(end, "r8") NARROW_V6M_STORE(end, "r9")                          \
          NARROW_V6M_STORE(end, "r10") NARROW_V6M_STORE(end, "r11")                                                   \
          "str  r3, [sp, #24]\n\t"                                                                                    \
          "ldr  r1, [sp, #20]\n\t"                                                                                    \
          "cmp  r0, r1\n\t"                                                                                           \
          "beq  3f\n\t"                                                                                               \
          "b    2b\n"                                                                                                 \
          "3:\n\t"                                                                                                    \
          ".endif\n\t"                                                                                                \
          ".if " #ones " == 1\n\t"                                                                                    \
          "ldr  r1, =4*" #pitch "-12\n\t"                                                                             \
          "mov  r12, r1\n\t"                                                                                          \
          "ldr  r1, =-8*" #pitch "\n\t"                                                                               \
          "mov  lr, r1\n\t" NARROW_V6M_THREE_ROWS(NARROW_V6M_ROW_ONE(#split))                                         \
          ".endif\n\t"                                                                                                \
          ".if " #ones " > 1\n\t"                                                                                     \
          "ldr  r1, =4*" #pitch "-8*(1+" #stride ")\n\t"                                                              \
          "mov  r12, r1\n\t"                                                                                          \
          "ldr  r1, =-8*" #pitch "\n\t"                                                                               \
          "mov  lr, r1\n\t" NARROW_V6M_THREE_ROWS(NARROW_V6M_ROW_##stride(#split))                                    \
          ".endif\n\t"                                                                                                \
          ".if " #ones " > 0\n\t"                                                                                     \
          NARROW_V6M_BEFORE_##end(#ones)                                                                              \
          "ldr  r3, [sp, #24]\n\t"                                                                                    \
          "ldr  r4, =" #pixel "\n\t" NARROW_V6M_STORE(end, "r8")                                                      \
          ".if " #ones " > 1\n\t" NARROW_V6M_STORE(end, "r9")                                                         \
          ".endif\n\t"                                                                                                \
          ".if " #ones " > 2\n\t" NARROW_V6M_STORE(end, "r10")                                                        \
          ".endif\n\t"                                                                                                \
          "str  r3, [sp, #24]\n\t"                                                                                    \
          ".endif\n\t"                                                                                                \
          "ldr  r1, =4*" #pitch "*" #stride "\n\t"                                                                    \
          "ldr  r0, [sp, #32]\n\t"                                                                                    \
          "adds r0, r0, r1\n\t"                                                                                       \
          "str  r0, [sp, #32]\n\t"                                                                                    \
          "ldr  r1, [sp, #16]\n\t"                                                                                    \
          "subs r1, r1, #1\n\t"                                                                                       \
          "str  r1, [sp, #16]\n\t"                                                                                    \
          "beq  4f\n\t"                                                                                               \
          "b    1b\n"                                                                                                 \
          "4:\n\t"                                                                                                    \
          "add  sp, sp, #36\n\t"                                                                                      \
          NARROW_V6M_RETURN                                                                                           \
          ".ltorg\n\t"                                                                                                \
          NARROW_ASSEMBLY_END(#name));

#else

/* Output x of a row: which words, and which half of them. */
static NARROW_INLINE int32_t narrow_pair_plane_sum(const int32_t *row, int32_t x, int32_t stride, int32_t pitch,
                                                   const int32_t *weights, int32_t split, int32_t sum) {
  const int32_t high = stride == 1 ? (x >> 1) & 1 : x & 1;
  const int32_t *words = row + (stride == 1 ? x - 2 * high : x / 2 * 3);
  for (int32_t ky = 0; ky < 3; ++ky, words += pitch, weights += 3) {
    int32_t pair = words[0] * weights[0] + words[1] * weights[1];
    if (split < 3) {
      sum += high != 0 ? (pair - (int16_t)pair) >> 16 : (int16_t)pair;
      pair = 0;
    }
    pair += words[2] * weights[2];
    sum += high != 0 ? (pair - (int16_t)pair) >> 16 : (int16_t)pair;
  }
  return sum;
}

static NARROW_INLINE void narrow_depthwise_conv_2d_pair_plane(const int32_t *plane, void *output,
                                                              const int32_t *weights, const narrow_channel *channel,
                                                              narrow_end end, int32_t pitch, int32_t stride,
                                                              int32_t width, int32_t pixel, int32_t split) {
  const int8_t shift = (int8_t)channel->shift;
  const narrow_rescale rescale = {&channel->start, &channel->multiplier, &channel->fold, &shift, 0};
  for (int32_t y = 0; y < channel->rows; ++y, plane += stride * pitch) {
    for (int32_t x = 0; x < width; ++x) {
      const int32_t sum = narrow_pair_plane_sum(plane, x, stride, pitch, weights, split, channel->start);
      const int32_t at = (y * width + x) * pixel;
      if (end != NARROW_END_NONE) {
        ((int8_t *)output)[at] = narrow_finish(end, &rescale, 0, sum);
      } else {
        ((int32_t *)output)[at / 4] = sum;
      }
    }
  }
}

#define NARROW_DEPTHWISE_CONV_2D_PLANES_V6M(name, end, pitch, stride, fours, ones, pixel, split)                   \
  static void name(const void *plane, void *output, const int32_t *weights, const narrow_channel *channel) {       \
    narrow_depthwise_conv_2d_pair_plane((const int32_t *)plane, output, weights, channel, NARROW_LOOP_##end,  \
                                        pitch, stride, 4 * (fours) + (ones), pixel, split);                        \
  }

#endif

/* One row of a plane as words, at stride 1. line: the row with its padding, and two elements more than words. */
static NARROW_INLINE void narrow_pair_row_1(const int8_t *line, int32_t words, int32_t *to) {
  int32_t a = line[0], b = line[1];
  line += 2;
  for (int32_t i = 0; i < words; i += 2, line += 2) { /* an odd number of words writes one more */
    const int32_t c = line[0], d = line[1];
    *to++ = a + c * (1 << 16);
    *to++ = b + d * (1 << 16);
    a = c;
    b = d;
  }
}

/* The same at stride 2: three words for every four elements. */
static NARROW_INLINE void narrow_pair_row_2(const int8_t *line, int32_t words, int32_t *to) {
  int32_t first = line[0];
  for (const int32_t *const last = to + words; to < last; line += 4) {
    const int32_t third = line[2], fifth = line[4];
    *to++ = first + third * (1 << 16);
    *to++ = line[1] + line[3] * (1 << 16);
    *to++ = third + fifth * (1 << 16);
    first = fifth;
  }
}

/* Row of a plane that is stored as such, at stride 1, as words: `left` (0 or 1) elements of padding, `width` of the row,
 * padding behind it. */
static NARROW_INLINE void narrow_pair_whole_row(const int8_t *from, int32_t width, int32_t left, int32_t padding,
                                                int32_t words, int32_t *to) {
  const int32_t *const end = to + words;
  const int8_t *const behind = from + width;
  int32_t a = left != 0 ? padding : *from++;
  int32_t b = from < behind ? *from++ : padding;
  for (; from + 1 < behind && to + 1 < end; from += 2, to += 2) {
    const int32_t c = from[0], d = from[1];
    to[0] = a + c * (1 << 16);
    to[1] = b + d * (1 << 16);
    a = c;
    b = d;
  }
  for (; to < end; ++to) {
    const int32_t c = from < behind ? *from++ : padding;
    *to = a + c * (1 << 16);
    a = b;
    b = c;
  }
}

/* The same at stride 2: three words for every four elements. */
static NARROW_INLINE void narrow_pair_whole_row_2(const int8_t *row, int32_t width, int32_t left, int32_t padding,
                                                  int32_t words, int32_t *to) {
  const int32_t *const end = to + words;
  for (int32_t start = -left; to < end; start += 4, to += 3) {
    const int8_t *from = row + start;
    int8_t edge[5];
    if (start < 0 || start + 4 >= width) {
      for (int32_t i = 0; i < 5; ++i) {
        const int32_t at = start + i;
        edge[i] = at >= 0 && at < width ? row[at] : (int8_t)padding;
      }
      from = edge;
    }
    const int32_t middle = from[2];
    to[0] = from[0] + middle * (1 << 16);
    to[1] = from[1] + from[3] * (1 << 16);
    to[2] = middle + from[4] * (1 << 16);
  }
}

/* The layer. window: 3x3, dilations 1, strides equal, as many output as input channels.
 *
 * weights: [channels, 9] bytes. pixel, plane: bytes from pixel to pixel and from channel to channel of the input.
 * height: rows of the plane with its padding; pitch: its words from row to row, a multiple of 2 (stride 1) or 3.
 * kernel: of split 3; second: of split 2, for channels whose bit in `wide` is set; it may be 0 where none is.
 * end: for kernels of int32 sums; NARROW_END_NONE for the others.
 * scratch: height * pitch words, then 2 * pitch + 8 bytes for a row, then for sums output_width words; aligned to 4. */
static NARROW_INLINE void narrow_depthwise_conv_2d_planes_v6m(const narrow_window *window,
                                                              const narrow_rescale *rescale, const int8_t *weights,
                                                              const uint8_t *wide, int32_t pixel, int32_t plane,
                                                              int32_t height, int32_t pitch, const int8_t *input,
                                                              int8_t *output, int8_t *scratch,
                                                              narrow_plane_kernel *kernel, narrow_plane_kernel *second,
                                                              narrow_end end) {
  const int32_t channels = window->output_channels, width = window->input_width;
  const int32_t image = window->input_height * width * channels;
  const int32_t outputs = window->output_height * window->output_width * channels;
  const int32_t bytes = (2 * pitch + 11) & ~3;
  int32_t *const words = (int32_t *)(void *)scratch;
  int8_t *const line = scratch + 4 * height * pitch;
  int32_t *const sums = (int32_t *)(void *)(line + bytes);
  /* Padding stays from channel to channel. */
  for (int32_t i = 0; i < height * pitch; ++i) words[i] = window->padding_value * ((1 << 16) + 1);
  memset(line, window->padding_value, (size_t)bytes);
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image, output += outputs) {
    weights -= batch != 0 ? 9 * channels : 0;
    for (int32_t c = 0; c < channels; ++c) {
      const int8_t *from = input + c * plane;
      int32_t *row = words + window->pad_top * pitch;
      int32_t taps[9];
      for (int32_t i = 0; i < 9; ++i) taps[i] = *weights++;
      narrow_plane_kernel *const own = second != 0 && ((wide[c >> 3] >> (c & 7)) & 1) != 0 ? second : kernel;
      for (int32_t y = 0; y < window->input_height; ++y, row += pitch) {
        if (pixel == 1) { /* the row is there as it is */
          if (window->stride_width == 1) {
            narrow_pair_whole_row(from, width, window->pad_left, window->padding_value, pitch, row);
          } else {
            narrow_pair_whole_row_2(from, width, window->pad_left, window->padding_value, pitch, row);
          }
          from += width;
          continue;
        }
        int8_t *to = line + window->pad_left;
        int32_t x = 0;
        for (; x + 3 < width; x += 4, to += 4) {
          to[0] = *from;
          from += pixel;
          to[1] = *from;
          from += pixel;
          to[2] = *from;
          from += pixel;
          to[3] = *from;
          from += pixel;
        }
        for (; x < width; ++x, from += pixel) *to++ = *from;
        if (window->stride_width == 1) {
          narrow_pair_row_1(line, pitch, row);
        } else {
          narrow_pair_row_2(line, pitch, row);
        }
      }
      if (end == NARROW_END_NONE) {
        const narrow_channel channel = narrow_channel_of(rescale, c, window->output_height);
        own(words, output + c, taps, &channel);
      } else {
        const narrow_channel channel = narrow_channel_of(rescale, c, 1);
        int8_t *y = output + c;
        for (int32_t i = 0; i < window->output_height; ++i) {
          own(words + i * window->stride_height * pitch, sums, taps, &channel);
          for (int32_t x = 0; x < window->output_width; ++x, y += channels) {
            *y = narrow_finish(end, rescale, c, sums[x]);
          }
        }
      }
    }
  }
}

#endif
