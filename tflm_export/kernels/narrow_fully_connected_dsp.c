/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_assembly.h"
#include "narrow_dsp.h"

/* A row of inputs, and what is left of the layer to do for it. In assembly, channels, output and what belongs to
 * channels goes on with every four. The order is that of the offsets there. */
typedef struct {
  const int8_t *input, *end_of_input;
  const int32_t *weights;
  int32_t channels;
  void *output;
  const int32_t *start, *multiplier, *fold;
  const int8_t *shift;
} row_left;

/* All outputs of a row, or int32 sums.
 *
 * The inputs are a multiple of 4, at least 4, and so are the channels. weights: [channels / 4, depth / 4, 4] words, for
 * four channels first the two words of A and B, then those of C and D, see narrow_kernels.h. */
#if NARROW_DSP_LOOPS

/* 24 cycles for 16 products on a Cortex-M4. r4-r7: sums, r1: inputs, r2: weights, lr: end of the
 * inputs, the rest unpacks. Stack: the row. */
#define STEP                     \
  "ldr    r0, [r1], #4\n\t"      \
  "ldr    r8, [r2], #16\n\t"     \
  "ldr    r9, [r2, #-12]\n\t"    \
  "ldr    r10, [r2, #-8]\n\t"    \
  "ldr    r11, [r2, #-4]\n\t"    \
  "sxtb16 r3, r0\n\t"            \
  "sxtb16 r0, r0, ror #8\n\t"    \
  "sxtb16 r12, r8\n\t"           \
  "smlad  r4, r3, r12, r4\n\t"   \
  "sxtb16 r12, r8, ror #8\n\t"   \
  "smlad  r5, r3, r12, r5\n\t"   \
  "sxtb16 r12, r9\n\t"           \
  "smlad  r4, r0, r12, r4\n\t"   \
  "sxtb16 r12, r9, ror #8\n\t"   \
  "smlad  r5, r0, r12, r5\n\t"   \
  "sxtb16 r12, r10\n\t"          \
  "smlad  r6, r3, r12, r6\n\t"   \
  "sxtb16 r12, r10, ror #8\n\t"  \
  "smlad  r7, r3, r12, r7\n\t"   \
  "sxtb16 r12, r11\n\t"          \
  "smlad  r6, r0, r12, r6\n\t"   \
  "sxtb16 r12, r11, ror #8\n\t"  \
  "smlad  r7, r0, r12, r7\n\t"

/* r0: the row, r3: the output, r4-r7: sums and outputs; r1, r8-r12, lr are free. */
#define SHIFTED                 \
  "ldr    r1, [r0, #32]\n\t"    \
  "ldrb   r8, [r1]\n\t"         \
  "ldrb   r9, [r1, #1]\n\t"     \
  "ldrb   r10, [r1, #2]\n\t"    \
  "ldrb   r11, [r1, #3]\n\t"    \
  "adds   r1, r1, #4\n\t"       \
  "str    r1, [r0, #32]\n\t"    \
  "asrs   r4, r4, r8\n\t"       \
  "asrs   r5, r5, r9\n\t"       \
  "asrs   r6, r6, r10\n\t"      \
  "asrs   r7, r7, r11\n\t"      \
  "ssat   r4, #8, r4\n\t"       \
  "ssat   r5, #8, r5\n\t"       \
  "ssat   r6, #8, r6\n\t"       \
  "ssat   r7, #8, r7\n\t"       \
  "strb   r4, [r3]\n\t"         \
  "strb   r5, [r3, #1]\n\t"     \
  "strb   r6, [r3, #2]\n\t"     \
  "strb   r7, [r3, #3]\n\t"     \
  "adds   r3, r3, #4\n\t"

/* SCALED of each sum with its multiplier, in r8-r11, and its fold. */
#define MULTIPLIED(SCALED)                                                         \
  "ldr    r1, [r0, #24]\n\t"                                                       \
  "ldm    r1!, {r8-r11}\n\t"                                                       \
  "str    r1, [r0, #24]\n\t"                                                       \
  "ldr    r1, [r0, #28]\n\t"                                                       \
  "ldm    r1!, {r12, lr}\n\t" SCALED("r4", "r8", "r12") SCALED("r5", "r9", "lr")   \
  "ldm    r1!, {r12, lr}\n\t" SCALED("r6", "r10", "r12") SCALED("r7", "r11", "lr") \
  "str    r1, [r0, #28]\n\t" SHIFTED
#define SCALED(sum, multiplier, fold) "mla    " sum ", " sum ", " multiplier ", " fold "\n\t"

/* Twice the sum times the multiplier, its upper word rounded, and the fold, less 1 for negative sums. */
#define STOCK_SCALED(sum, multiplier, fold)           \
  "lsls   " sum ", " sum ", #1\n\t"                   \
  "add    " fold ", " fold ", " sum ", asr #31\n\t"   \
  "smmlar " sum ", " sum ", " multiplier ", " fold "\n\t"

#define FINISH_SHIFT SHIFTED
#define FINISH_MULTIPLY MULTIPLIED(SCALED)
#define FINISH_STOCK MULTIPLIED(STOCK_SCALED)
#define FINISH_SUM "stm    r3!, {r4-r7}\n\t"

#define ROW(name, end)                                      \
  NARROW_C void name(row_left *row);                        \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                      \
          "push   {r0, r4-r11, lr}\n\t"                     \
          "ldr    r2, [r0, #8]\n"                           \
          "1:\n\t" /* four channels */                      \
          "ldr    r3, [r0, #20]\n\t"                        \
          "ldr    r1, [r0]\n\t"                             \
          "ldr    lr, [r0, #4]\n\t"                         \
          "ldm    r3!, {r4-r7}\n\t"                         \
          "str    r3, [r0, #20]\n\t"                        \
          "sub    r0, lr, r1\n\t"                           \
          "ands   r0, r0, #15\n\t"                          \
          "beq.w  3f\n"                                     \
          "2:\n\t" STEP /* until whole sixteens are left */ \
          "sub    r0, lr, r1\n\t"                           \
          "ands   r0, r0, #15\n\t"                          \
          "bne    2b\n\t"                                   \
          "cmp    r1, lr\n\t"                               \
          "beq.w  4f\n"                                     \
          "3:\n\t"                                          \
          ".rept 4\n\t" STEP ".endr\n\t"                    \
          "cmp    r1, lr\n\t"                               \
          "bne.w  3b\n"                                     \
          "4:\n\t"                                          \
          "ldr    r0, [sp]\n\t"                             \
          "ldr    r3, [r0, #16]\n\t" FINISH_##end           \
          "str    r3, [r0, #16]\n\t"                        \
          "ldr    r3, [r0, #12]\n\t"                        \
          "subs   r3, r3, #4\n\t"                           \
          "str    r3, [r0, #12]\n\t"                        \
          "bne.w  1b\n\t"                                   \
          "pop    {r0, r4-r11, pc}\n\t"                     \
          NARROW_ASSEMBLY_END(#name));

#else

static NARROW_INLINE void row_of(row_left *row, narrow_end end) {
  const narrow_rescale rescale = {row->start, row->multiplier, row->fold, row->shift, 0};
  const int32_t depth = (int32_t)(row->end_of_input - row->input);
  const int32_t *w = row->weights;
  for (int32_t c = 0; c < row->channels; c += 4) {
    int32_t sums[4];
    for (int32_t i = 0; i < 4; ++i) sums[i] = row->start[c + i];
    for (int32_t i = 0; i < depth; i += 4, w += 4) {
      const int32_t x = narrow_word(row->input + i), even = narrow_even(x), odd = narrow_odd(x);
      for (int32_t a = 0; a < 4; a += 2) {
        sums[a] = narrow_mac2(odd, narrow_even(w[a + 1]), narrow_mac2(even, narrow_even(w[a]), sums[a]));
        sums[a + 1] = narrow_mac2(odd, narrow_odd(w[a + 1]), narrow_mac2(even, narrow_odd(w[a]), sums[a + 1]));
      }
    }
    for (int32_t i = 0; i < 4; ++i) {
      if (end != NARROW_END_NONE) {
        ((int8_t *)row->output)[c + i] = narrow_finish(end, &rescale, c + i, sums[i]);
      } else {
        ((int32_t *)row->output)[c + i] = sums[i];
      }
    }
  }
}

#define ROW(name, end) \
  static void name(row_left *row) { row_of(row, NARROW_LOOP_##end); }

#endif

ROW(narrow_fully_connected_dsp_row_shift, SHIFT)
ROW(narrow_fully_connected_dsp_row_multiply, MULTIPLY)
ROW(narrow_fully_connected_dsp_row_stock, STOCK)
ROW(narrow_fully_connected_dsp_row_sum, SUM)

static NARROW_INLINE void fully_connected_dsp(int32_t rows, int32_t depth, int32_t channels,
                                              const narrow_rescale *rescale, const int32_t *weights,
                                              const int8_t *input, int8_t *output, narrow_end end) {
  for (int32_t row = 0; row < rows; ++row, input += depth, output += channels) {
    row_left left = {input,          input + depth,       weights,       channels,      output,
                     rescale->start, rescale->multiplier, rescale->fold, rescale->shift};
    if (end == NARROW_END_SHIFT) {
      narrow_fully_connected_dsp_row_shift(&left);
    } else if (end == NARROW_END_MULTIPLY) {
      narrow_fully_connected_dsp_row_multiply(&left);
    } else if (end == NARROW_END_STOCK && rescale->fold != 0) {
      narrow_fully_connected_dsp_row_stock(&left);
    } else {
      for (int32_t c = 0; c < channels; c += 4) {
        int32_t sums[4];
        left.channels = 4;
        left.output = sums;
        left.weights = weights + c / 4 * depth;
        left.start = rescale->start + c;
        narrow_fully_connected_dsp_row_sum(&left);
        for (int32_t i = 0; i < 4; ++i) output[c + i] = narrow_finish(end, rescale, c + i, sums[i]);
      }
    }
  }
}

NARROW_DEFINE_ENDS(narrow_fully_connected_dsp,
                   (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                    const int32_t *weights, const int8_t *input, int8_t *output),
                   fully_connected_dsp(rows, depth, channels, rescale, weights, input, output, end))
