/* SPDX-License-Identifier: Apache-2.0 */
/* Dense layers for cores with the DSP extension. NARROW_DENSE_DSP(name, form) defines NAME_shift to NAME_stock, see
 * narrow_dense_dsp in narrow_kernels.h, for one form of weights. */
#ifndef NARROW_DENSE_DSP_H
#define NARROW_DENSE_DSP_H

#include "narrow_assembly.h"
#include "narrow_dsp.h"
#include "narrow_window.h"

/* A row of inputs, and what is left of the layer to do for it. In assembly, channels, output and what belongs to
 * channels goes on with every four. The order is that of the offsets there. */
typedef struct {
  const int8_t *input, *end_of_input;
  const int32_t *weights;
  int32_t channels;
  void *output;
  const int32_t *start, *multiplier, *fold;
  const int8_t *shift;
} narrow_dense_row;

/* All outputs of a row, or int32 sums.
 *
 * The inputs are a multiple of 4, at least 4, and so are the channels. weights: [channels / 4, depth / 4, 4] words, for
 * four channels first the two words of A and B, then those of C and D, in one of the forms of
 * narrow_conv_2d_tiles_dsp.h, EACH or LANES. start: of LANES, that of B and D is 256 times theirs with that of A and C on top. */
#if NARROW_DSP_LOOPS

/* r4-r7: sums, r1: inputs, r2: weights, lr: end of the inputs, the rest unpacks. Stack: the row. */
#define NARROW_DENSE_LOAD     \
  "ldr    r0, [r1], #4\n\t"   \
  "ldr    r8, [r2], #16\n\t"  \
  "ldr    r9, [r2, #-12]\n\t" \
  "ldr    r10, [r2, #-8]\n\t" \
  "ldr    r11, [r2, #-4]\n\t" \
  "sxtb16 r3, r0\n\t"         \
  "sxtb16 r0, r0, ror #8\n\t"

/* The products of two channels, whose weights are in `word`, with r3 or r0. */
#define NARROW_DENSE_EACH(a, b, x, word) \
  "sxtb16 r12, " word "\n\t"             \
  "smlad  " a ", " x ", r12, " a "\n\t"  \
  "sxtb16 r12, " word ", ror #8\n\t"     \
  "smlad  " b ", " x ", r12, " b "\n\t"
#define NARROW_DENSE_LANES(a, b, x, word)    \
  "sxtb16 r12, " word "\n\t"                 \
  "smlad  " b ", " x ", " word ", " b "\n\t" \
  "smlad  " a ", " x ", r12, " a "\n\t"

/* 24 cycles for 16 products on a Cortex-M4 of EACH, 20 of LANES. */
#define NARROW_DENSE_STEP(form)                                                                             \
  NARROW_DENSE_LOAD NARROW_DENSE_##form("r4", "r5", "r3", "r8") NARROW_DENSE_##form("r4", "r5", "r0", "r9") \
  NARROW_DENSE_##form("r6", "r7", "r3", "r10") NARROW_DENSE_##form("r6", "r7", "r0", "r11")

/* The sums of B and D from those with A and C in them. */
#define NARROW_DENSE_PART_EACH
#define NARROW_DENSE_PART_LANES \
  "subs   r5, r5, r4\n\t"       \
  "subs   r7, r7, r6\n\t"       \
  "asrs   r5, r5, #8\n\t"       \
  "asrs   r7, r7, #8\n\t"

/* r0: the row, r3: the output, r4-r7: sums and outputs; r1, r8-r12, lr are free. */
#define NARROW_DENSE_SHIFTED \
  "ldr    r1, [r0, #32]\n\t" \
  "ldrb   r8, [r1]\n\t"      \
  "ldrb   r9, [r1, #1]\n\t"  \
  "ldrb   r10, [r1, #2]\n\t" \
  "ldrb   r11, [r1, #3]\n\t" \
  "adds   r1, r1, #4\n\t"    \
  "str    r1, [r0, #32]\n\t" \
  "asrs   r4, r4, r8\n\t"    \
  "asrs   r5, r5, r9\n\t"    \
  "asrs   r6, r6, r10\n\t"   \
  "asrs   r7, r7, r11\n\t"   \
  "ssat   r4, #8, r4\n\t"    \
  "ssat   r5, #8, r5\n\t"    \
  "ssat   r6, #8, r6\n\t"    \
  "ssat   r7, #8, r7\n\t"    \
  "strb   r4, [r3]\n\t"      \
  "strb   r5, [r3, #1]\n\t"  \
  "strb   r6, [r3, #2]\n\t"  \
  "strb   r7, [r3, #3]\n\t"  \
  "adds   r3, r3, #4\n\t"

/* NARROW_DENSE_SCALED of each sum with its multiplier, in r8-r11, and its fold. */
#define NARROW_DENSE_MULTIPLIED(NARROW_DENSE_SCALED)                                                         \
  "ldr    r1, [r0, #24]\n\t"                                                                                 \
  "ldm    r1!, {r8-r11}\n\t"                                                                                 \
  "str    r1, [r0, #24]\n\t"                                                                                 \
  "ldr    r1, [r0, #28]\n\t"                                                                                 \
  "ldm    r1!, {r12, lr}\n\t" NARROW_DENSE_SCALED("r4", "r8", "r12") NARROW_DENSE_SCALED("r5", "r9", "lr")   \
  "ldm    r1!, {r12, lr}\n\t" NARROW_DENSE_SCALED("r6", "r10", "r12") NARROW_DENSE_SCALED("r7", "r11", "lr") \
  "str    r1, [r0, #28]\n\t" NARROW_DENSE_SHIFTED
#define NARROW_DENSE_SCALED(sum, multiplier, fold) "mla    " sum ", " sum ", " multiplier ", " fold "\n\t"

/* Twice the sum times the multiplier, its upper word rounded, and the fold, less 1 for negative sums. */
#define NARROW_DENSE_STOCK_SCALED(sum, multiplier, fold) \
  "lsls   " sum ", " sum ", #1\n\t"                      \
  "add    " fold ", " fold ", " sum ", asr #31\n\t"      \
  "smmlar " sum ", " sum ", " multiplier ", " fold "\n\t"

#define NARROW_DENSE_FINISH_SHIFT NARROW_DENSE_SHIFTED
#define NARROW_DENSE_FINISH_MULTIPLY NARROW_DENSE_MULTIPLIED(NARROW_DENSE_SCALED)
#define NARROW_DENSE_FINISH_STOCK NARROW_DENSE_MULTIPLIED(NARROW_DENSE_STOCK_SCALED)
#define NARROW_DENSE_FINISH_SUM "stm    r3!, {r4-r7}\n\t"

#define NARROW_DENSE_ROW(name, end, form)                                               \
  NARROW_C void name(narrow_dense_row *row);                                            \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                  \
          "push   {r0, r4-r11, lr}\n\t"                                                 \
          "ldr    r2, [r0, #8]\n"                                                       \
          "1:\n\t" /* four channels */                                                  \
          "ldr    r3, [r0, #20]\n\t"                                                    \
          "ldr    r1, [r0]\n\t"                                                         \
          "ldr    lr, [r0, #4]\n\t"                                                     \
          "ldm    r3!, {r4-r7}\n\t"                                                     \
          "str    r3, [r0, #20]\n\t"                                                    \
          "sub    r0, lr, r1\n\t"                                                       \
          "ands   r0, r0, #15\n\t"                                                      \
          "beq.w  3f\n"                                                                 \
          "2:\n\t" NARROW_DENSE_STEP(form) /* until whole sixteens are left */          \
          "sub    r0, lr, r1\n\t"                                                       \
          "ands   r0, r0, #15\n\t"                                                      \
          "bne    2b\n\t"                                                               \
          "cmp    r1, lr\n\t"                                                           \
          "beq.w  4f\n"                                                                 \
          "3:\n\t"                                                                      \
          ".rept 4\n\t" NARROW_DENSE_STEP(form) ".endr\n\t"                             \
          "cmp    r1, lr\n\t"                                                           \
          "bne.w  3b\n"                                                                 \
          "4:\n\t"                                                                      \
          "ldr    r0, [sp]\n\t"                                                         \
          "ldr    r3, [r0, #16]\n\t" NARROW_DENSE_PART_##form NARROW_DENSE_FINISH_##end \
          "str    r3, [r0, #16]\n\t"                                                    \
          "ldr    r3, [r0, #12]\n\t"                                                    \
          "subs   r3, r3, #4\n\t"                                                       \
          "str    r3, [r0, #12]\n\t"                                                    \
          "bne.w  1b\n\t"                                                               \
          "pop    {r0, r4-r11, pc}\n\t"                                                 \
          NARROW_ASSEMBLY_END(#name));

#else

typedef enum { NARROW_DENSE_EACH, NARROW_DENSE_LANES } narrow_dense_form;

static NARROW_INLINE void narrow_dense_row_of(narrow_dense_row *row, narrow_end end, narrow_dense_form form) {
  const narrow_rescale rescale = {row->start, row->multiplier, row->fold, row->shift, 0};
  const int32_t depth = (int32_t)(row->end_of_input - row->input);
  const int32_t *w = row->weights;
  for (int32_t c = 0; c < row->channels; c += 4) {
    int32_t sums[4];
    for (int32_t i = 0; i < 4; ++i) sums[i] = row->start[c + i];
    for (int32_t i = 0; i < depth; i += 4) {
      const int32_t word = narrow_word(row->input + i), x[2] = {narrow_even(word), narrow_odd(word)};
      for (int32_t step = 0; step < 4; ++step, ++w) {
        int32_t *const pair = sums + (step & 2);
        pair[0] = narrow_mac2(x[step & 1], narrow_even(*w), pair[0]);
        pair[1] = narrow_mac2(x[step & 1], form == NARROW_DENSE_LANES ? *w : narrow_odd(*w), pair[1]);
      }
    }
    for (int32_t i = 0; i < 4; ++i) {
      if (form == NARROW_DENSE_LANES && (i & 1) != 0) {
        sums[i] = (int32_t)((uint32_t)sums[i] - (uint32_t)sums[i - 1]) >> 8;
      }
      if (end != NARROW_END_NONE) {
        ((int8_t *)row->output)[c + i] = narrow_finish(end, &rescale, c + i, sums[i]);
      } else {
        ((int32_t *)row->output)[c + i] = sums[i];
      }
    }
  }
}

#define NARROW_DENSE_ROW(name, end, form) \
  static void name(narrow_dense_row *row) { narrow_dense_row_of(row, NARROW_LOOP_##end, NARROW_DENSE_##form); }

#endif

typedef void narrow_dense_loop(narrow_dense_row *row);

/* What is left to do from channel c on, of a row that begins with the first one. */
static NARROW_INLINE narrow_dense_row narrow_dense_from(const narrow_dense_row *row, int32_t c, int32_t channels,
                                                        void *output) {
  const int32_t depth = (int32_t)(row->end_of_input - row->input);
  narrow_dense_row left = *row;
  left.weights += c / 4 * depth;
  left.channels = channels;
  left.output = output;
  left.start += c;
  if (left.multiplier != 0) left.multiplier += c;
  if (left.fold != 0) left.fold += c;
  left.shift += c;
  return left;
}

/* All rows, by a loop that ends them itself if `whole` is not NULL, else by one of sums. */
static NARROW_INLINE void narrow_dense_rows(int32_t rows, int32_t depth, int32_t channels,
                                            const narrow_rescale *rescale, const int32_t *weights,
                                            const int8_t *input, int8_t *output, int8_t *scratch,
                                            narrow_dense_loop *whole, narrow_dense_loop *sums, narrow_end end) {
  const int32_t depth4 = (depth + 3) & ~3, fours = channels & ~3;
  if (depth4 != depth) narrow_fill(0, depth4 - depth, scratch + depth);
  for (int32_t row = 0; row < rows; ++row, input += depth, output += channels) {
    const int8_t *const from = depth4 != depth ? scratch : input;
    if (depth4 != depth) narrow_copy(input, depth, scratch);
    const narrow_dense_row all = {from,           from + depth4,       weights,       channels,      output,
                                  rescale->start, rescale->multiplier, rescale->fold, rescale->shift};
    if (whole != 0) {
      if (fours != 0) {
        narrow_dense_row most = narrow_dense_from(&all, 0, fours, output);
        whole(&most);
      }
      if (fours != channels) {
        int8_t four[4];
        narrow_dense_row last = narrow_dense_from(&all, fours, 4, four);
        whole(&last);
        narrow_copy(four, channels - fours, output + fours);
      }
      continue;
    }
    for (int32_t c = 0; c < channels; c += 4) {
      int32_t four[4];
      narrow_dense_row left = narrow_dense_from(&all, c, 4, four);
      sums(&left);
      for (int32_t i = 0; i < 4 && c + i < channels; ++i) output[c + i] = narrow_finish(end, rescale, c + i, four[i]);
    }
  }
}

#define NARROW_DENSE_DSP(name, form)                                                                           \
  NARROW_DENSE_ROW(name##_row_shift, SHIFT, form)                                                              \
  NARROW_DENSE_ROW(name##_row_multiply, MULTIPLY, form)                                                        \
  NARROW_DENSE_ROW(name##_row_stock, STOCK, form)                                                              \
  NARROW_DENSE_ROW(name##_row_sum, SUM, form)                                                                  \
  NARROW_DEFINE_ENDS(name,                                                                                     \
                     (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,            \
                      const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch),           \
                     narrow_dense_rows(rows, depth, channels, rescale, weights, input, output, scratch,        \
                                       end == NARROW_END_SHIFT ? name##_row_shift                              \
                                       : end == NARROW_END_MULTIPLY ? name##_row_multiply                      \
                                       : end == NARROW_END_STOCK && rescale->fold != 0 ? name##_row_stock : 0, \
                                       name##_row_sum, end))

#endif
