/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise 3x3 convolution plane by plane, for cores with the DSP extension.
 *
 * With a row of one channel in memory, a word of inputs x0..x3 gives the pairs (x0, x2) and (x1, x3) by two SXTB16, so
 * that an output takes one SMLAD for the outer taps of a row and one SMLAxy for the middle one: 51 cycles for 4 outputs
 * at stride 1. Five registers hold all nine weights.
 *
 * NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, pitch, stride, fours, ones, pixel) makes a narrow_plane_kernel:
 *
 *   end     SHIFT, MULTIPLY or STOCK (folded): int8 outputs, as in narrow_kernels.h; SUM: int32 sums.
 *   pitch   bytes from row to row of the plane; 4 more bytes than its last row has are read.
 *   stride  1 or 2, in both directions.
 *   fours, ones  the output is 4 * fours + ones wide, ones 0..3.
 *   pixel   bytes from output to output, 1..1023.
 *
 * weights: 5 words of int16 pairs, lower half first: the outer taps of each row, then the middle taps of the first and
 * second row, then that of the third and 0. */
#ifndef NARROW_DEPTHWISE_CONV_2D_PLANES_DSP_H
#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP_H

#include "narrow_assembly.h"
#include "narrow_dsp.h"
#include "narrow_memory.h"
#include "narrow_planes.h"
#include "narrow_window.h"

#if NARROW_DSP_LOOPS

/* r0: input, r1: output, r2, r3: unpack, r4-r7: sums, r8-r12: weights, lr: shift.
 * Stack: 0 start, 4 multiplier, 8 fold, 12 end of the row's fours, 16 rows left.
 *
 * OUTER, MIDDLE: the register with a row's outer weights, that with its middle one in half HALF (b or t). */
#define NARROW_DSP_UNPACK(LOAD) \
  LOAD                          \
  "sxtb16 r3, r2\n\t"           \
  "sxtb16 r2, r2, ror #8\n\t"

/* Four outputs of stride 1 and one row of taps; START is where the sums of the first row begin, else the sum itself. */
#define NARROW_DSP_FOUR_1(SECOND, FIRST, OUTER, MIDDLE, HALF, S4, S5, S6, S7) \
  NARROW_DSP_UNPACK(SECOND)                                                   \
  "smlad r6, r3, " OUTER ", " S6 "\n\t"                                       \
  "smlad r7, r2, " OUTER ", " S7 "\n\t"                                       \
  "smlab" HALF " r6, r2, " MIDDLE ", r6\n\t"                                  \
  "smlat" HALF " r7, r3, " MIDDLE ", r7\n\t"                                  \
  NARROW_DSP_UNPACK(FIRST)                                                    \
  "smlad r5, r2, " OUTER ", " S5 "\n\t"                                       \
  "smlad r4, r3, " OUTER ", " S4 "\n\t"                                       \
  "smlat" HALF " r5, r3, " MIDDLE ", r5\n\t"                                  \
  "smlab" HALF " r4, r2, " MIDDLE ", r4\n\t"

/* Two outputs of stride 2 and one row of taps: inputs 0..4. */
#define NARROW_DSP_TWO_2(FIRST, SECOND, OUTER, MIDDLE, HALF, LOW, HIGH, START) \
  NARROW_DSP_UNPACK(FIRST)                                                     \
  "smlat" HALF " " HIGH ", r2, " MIDDLE ", " START "\n\t"                      \
  "smlad " LOW ", r3, " OUTER ", " LOW "\n\t"                                  \
  "smlab" HALF " " LOW ", r2, " MIDDLE ", " LOW "\n\t"                         \
  SECOND                                                                       \
  "sxtb16 r2, r2\n\t"                                                          \
  "smlad " HIGH ", r2, " OUTER ", " HIGH "\n\t"

#define NARROW_DSP_ONE(LOAD, OUTER, MIDDLE, HALF) \
  NARROW_DSP_UNPACK(LOAD)                         \
  "smlad r4, r3, " OUTER ", r4\n\t"               \
  "smlab" HALF " r4, r2, " MIDDLE ", r4\n\t"

#define NARROW_DSP_LOAD(offset) "ldr r2, [r0, #" offset "]\n\t"
#define NARROW_DSP_START(sum) "ldr " sum ", [sp]\n\t"

#define NARROW_DSP_FOURS_1(pitch)                                                                                    \
  NARROW_DSP_START("r4")                                                                                             \
  NARROW_DSP_FOUR_1(NARROW_DSP_LOAD("2"), NARROW_DSP_LOAD("0"), "r8", "r11", "b", "r4", "r4", "r4", "r4")            \
  NARROW_DSP_FOUR_1(NARROW_DSP_LOAD(pitch "+2"), NARROW_DSP_LOAD(pitch), "r9", "r11", "t", "r4", "r5", "r6", "r7")   \
  NARROW_DSP_FOUR_1(NARROW_DSP_LOAD("2*" pitch "+2"), NARROW_DSP_LOAD("2*" pitch), "r10", "r12", "b", "r4", "r5",    \
                    "r6", "r7")                                                                                      \
  "adds r0, r0, #4\n\t"

#define NARROW_DSP_TWOS_2(offset, pitch, LOW, HIGH)                                                                \
  NARROW_DSP_START(LOW)                                                                                            \
  NARROW_DSP_TWO_2(NARROW_DSP_LOAD(offset), NARROW_DSP_LOAD(offset "+2"), "r8", "r11", "b", LOW, HIGH, LOW)        \
  NARROW_DSP_TWO_2(NARROW_DSP_LOAD(offset "+" pitch), NARROW_DSP_LOAD(offset "+2+" pitch), "r9", "r11", "t", LOW,  \
                   HIGH, HIGH)                                                                                     \
  NARROW_DSP_TWO_2(NARROW_DSP_LOAD(offset "+2*" pitch), NARROW_DSP_LOAD(offset "+2+2*" pitch), "r10", "r12", "b",  \
                   LOW, HIGH, HIGH)

#define NARROW_DSP_FOURS_2(pitch)            \
  NARROW_DSP_TWOS_2("0", pitch, "r4", "r5") \
  NARROW_DSP_TWOS_2("4", pitch, "r6", "r7") \
  "adds r0, r0, #8\n\t"

#define NARROW_DSP_FINISH_SHIFT(sum) \
  "asrs " sum ", " sum ", lr\n\t"    \
  "ssat " sum ", #8, " sum "\n\t"
#define NARROW_DSP_FINISH_MULTIPLY(sum)   \
  "mla  " sum ", " sum ", r2, r3\n\t"     \
  "asrs " sum ", " sum ", lr\n\t"         \
  "ssat " sum ", #8, " sum "\n\t"
/* Twice the sum times the multiplier, its upper word rounded, less 1 if negative. */
#define NARROW_DSP_FINISH_STOCK(sum)          \
  "lsls " sum ", " sum ", #1\n\t"             \
  "smmulr " sum ", " sum ", r2\n\t"           \
  "add  " sum ", " sum ", " sum ", asr #31\n\t" \
  "adds " sum ", " sum ", r3\n\t"             \
  "asrs " sum ", " sum ", lr\n\t"             \
  "ssat " sum ", #8, " sum "\n\t"
#define NARROW_DSP_FINISH_SUM(sum)

#define NARROW_DSP_BEFORE_SHIFT
#define NARROW_DSP_BEFORE_MULTIPLY \
  "ldr r2, [sp, #4]\n\t"           \
  "ldr r3, [sp, #8]\n\t"
#define NARROW_DSP_BEFORE_STOCK NARROW_DSP_BEFORE_MULTIPLY
#define NARROW_DSP_BEFORE_SUM

#define NARROW_DSP_STORE_SHIFT "strb"
#define NARROW_DSP_STORE_MULTIPLY "strb"
#define NARROW_DSP_STORE_STOCK "strb"
#define NARROW_DSP_STORE_SUM "str"

#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, pitch, stride, fours, ones, pixel)                         \
  NARROW_C narrow_plane_kernel name;                                                                              \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                            \
          "push {r4-r11, lr}\n\t"                                                                                 \
          "sub sp, sp, #20\n\t"                                                                                   \
          "ldm r2, {r8-r12}\n\t"                                                                                  \
          "ldm r3, {r4-r7, lr}\n\t" /* start, multiplier, fold, shift, rows */                                    \
          "str r4, [sp]\n\t"                                                                                      \
          "str r5, [sp, #4]\n\t"                                                                                  \
          "str r6, [sp, #8]\n\t"                                                                                  \
          "str lr, [sp, #16]\n\t"                                                                                 \
          "mov lr, r7\n"                                                                                          \
          "1:\n\t" /* a row */                                                                                    \
          ".if " #fours " > 0\n\t"                                                                                \
          "add r2, r0, #4*" #fours "*" #stride "\n\t"                                                             \
          "str r2, [sp, #12]\n"                                                                                   \
          "2:\n\t" NARROW_DSP_FOURS_##stride(#pitch) NARROW_DSP_BEFORE_##end                                      \
          NARROW_DSP_FINISH_##end("r4") NARROW_DSP_FINISH_##end("r5") NARROW_DSP_FINISH_##end("r6")               \
          NARROW_DSP_FINISH_##end("r7")                                                                           \
          NARROW_DSP_STORE_##end " r4, [r1]\n\t"                                                                  \
          NARROW_DSP_STORE_##end " r5, [r1, #" #pixel "]\n\t"                                                     \
          NARROW_DSP_STORE_##end " r6, [r1, #2*" #pixel "]\n\t"                                                   \
          NARROW_DSP_STORE_##end " r7, [r1, #3*" #pixel "]\n\t"                                                   \
          "add r1, r1, #4*" #pixel "\n\t"                                                                         \
          "ldr r2, [sp, #12]\n\t"                                                                                 \
          "cmp r0, r2\n\t"                                                                                        \
          "bne 2b\n\t"                                                                                            \
          ".endif\n\t"                                                                                            \
          ".rept " #ones "\n\t" NARROW_DSP_START("r4") NARROW_DSP_ONE(NARROW_DSP_LOAD("0"), "r8", "r11", "b")     \
          NARROW_DSP_ONE(NARROW_DSP_LOAD(#pitch), "r9", "r11", "t")                                               \
          NARROW_DSP_ONE(NARROW_DSP_LOAD("2*" #pitch), "r10", "r12", "b")                                         \
          "adds r0, r0, #" #stride "\n\t" NARROW_DSP_BEFORE_##end NARROW_DSP_FINISH_##end("r4")                   \
          NARROW_DSP_STORE_##end " r4, [r1]\n\t"                                                                  \
          "add r1, r1, #" #pixel "\n\t"                                                                           \
          ".endr\n\t"                                                                                             \
          "add r0, r0, #" #stride "*(" #pitch "-4*" #fours "-" #ones ")\n\t"                                      \
          "ldr r2, [sp, #16]\n\t"                                                                                 \
          "subs r2, r2, #1\n\t"                                                                                   \
          "str r2, [sp, #16]\n\t"                                                                                 \
          "bne 1b\n\t"                                                                                            \
          "add sp, sp, #20\n\t"                                                                                   \
          "pop {r4-r11, pc}\n\t"                                                                                  \
          NARROW_ASSEMBLY_END(#name));

#else

/* The middle weights: words 3 and 4, halves. */
static NARROW_INLINE int32_t narrow_plane_sum(const int8_t *x, int32_t pitch, const int32_t *weights, int32_t sum) {
  for (int32_t row = 0; row < 3; ++row, x += pitch) {
    const int32_t middle = (int16_t)((uint32_t)weights[3 + row / 2] >> (16 * (row & 1)));
    sum = narrow_mac2(narrow_even(narrow_word(x)), weights[row], sum) + x[1] * middle;
  }
  return sum;
}

static NARROW_INLINE void narrow_depthwise_conv_2d_plane(const int8_t *plane, void *output, const int32_t *weights,
                                                         const narrow_channel *channel, narrow_end end, int32_t pitch,
                                                         int32_t stride, int32_t width, int32_t pixel) {
  const int8_t shift = (int8_t)channel->shift;
  const narrow_rescale rescale = {&channel->start, &channel->multiplier, &channel->fold, &shift, 0};
  for (int32_t y = 0; y < channel->rows; ++y, plane += stride * pitch) {
    for (int32_t x = 0; x < width; ++x) {
      const int32_t sum = narrow_plane_sum(plane + x * stride, pitch, weights, channel->start);
      const int32_t at = (y * width + x) * pixel;
      if (end != NARROW_END_NONE) {
        ((int8_t *)output)[at] = narrow_finish(end, &rescale, 0, sum);
      } else {
        ((int32_t *)output)[at / 4] = sum;
      }
    }
  }
}

#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, pitch, stride, fours, ones, pixel)                         \
  static void name(const void *plane, void *output, const int32_t *weights, const narrow_channel *channel) {      \
    narrow_depthwise_conv_2d_plane((const int8_t *)plane, output, weights, channel, NARROW_LOOP_##end, pitch,  \
                                   stride, 4 * (fours) + (ones), pixel);                                          \
  }

#endif

/* The layer. window: 3x3, dilations 1, strides equal, as many output as input channels.
 *
 * weights: [channels, 5] as above. pixel, plane: bytes from pixel to pixel and from channel to channel of the input.
 * end: for kernels of int32 sums; NARROW_END_NONE for the others.
 * scratch: height * pitch bytes and 4 more, then for sums output_width words; aligned to 4. height counts the rows of
 * the plane with its padding. */
static NARROW_INLINE void narrow_depthwise_conv_2d_planes_dsp(const narrow_window *window,
                                                              const narrow_rescale *rescale, const int32_t *weights,
                                                              int32_t pixel, int32_t plane, int32_t height,
                                                              int32_t pitch, const int8_t *input, int8_t *output,
                                                              int8_t *scratch, narrow_plane_kernel *kernel,
                                                              narrow_end end) {
  const int32_t channels = window->output_channels, width = window->input_width;
  const int32_t image = window->input_height * width * channels;
  const int32_t outputs = window->output_height * window->output_width * channels;
  memset(scratch, window->padding_value, (size_t)(height * pitch + 4));
  int8_t *const inside = scratch + window->pad_top * pitch + window->pad_left;
  int32_t *const sums = (int32_t *)(void *)(scratch + ((height * pitch + 7) & ~3));
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image, output += outputs) {
    for (int32_t c = 0; c < channels; ++c) {
      const int8_t *from = input + c * plane;
      int8_t *to = inside;
      for (int32_t y = 0; y < window->input_height; ++y, to += pitch) {
        if (pixel == 1) {
          narrow_copy(from, width, to);
          from += width;
        } else {
          int32_t x = 0;
          for (; x + 3 < width; x += 4, from += 4 * pixel) {
            to[x] = from[0];
            to[x + 1] = from[pixel];
            to[x + 2] = from[2 * pixel];
            to[x + 3] = from[3 * pixel];
          }
          for (; x < width; ++x, from += pixel) to[x] = *from;
        }
      }
      if (end == NARROW_END_NONE) {
        const narrow_channel channel = narrow_channel_of(rescale, c, window->output_height);
        kernel(scratch, output + c, weights + 5 * c, &channel);
      } else {
        const narrow_channel channel = narrow_channel_of(rescale, c, 1);
        int8_t *y = output + c;
        for (int32_t row = 0; row < window->output_height; ++row) {
          kernel(scratch + row * window->stride_height * pitch, sums, weights + 5 * c, &channel);
          for (int32_t x = 0; x < window->output_width; ++x, y += channels) {
            *y = narrow_finish(end, rescale, c, sums[x]);
          }
        }
      }
    }
  }
}

#endif
