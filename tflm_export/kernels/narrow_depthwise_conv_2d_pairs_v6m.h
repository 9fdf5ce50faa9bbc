/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution plane by plane, for ARMv6-M and ARMv7-M without DSP: two outputs in one product. Also any
 * convolution of one input channel.
 *
 * A plane is kept as words x[i] + 2^16 * x[i + lane]; a weight times such a word is a product for two outputs. The
 * products of a few taps are added before the halves are split, which is exact while the lower one is an int16: see
 * c/pair_planes.py. The loop over a plane is made for the sizes of a layer: c/pair_plane_loop.py writes it, in assembly,
 * into the source of the model.
 *
 * NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M(name, end, kernel_rows, kernel_columns, block, tap_row, tap_column, stride_row,
 * stride_column, columns, output_row, output_column, assembly) makes a narrow_strip_kernel:
 *
 *   end     SHIFT, MULTIPLY or STOCK (folded): int8 outputs, as in narrow_kernels.h; SUM: int32 sums.
 *   block   taps whose products are added before they are split.
 *   tap_row, stride_row        words of the plane from tap to tap and from window to window down the plane.
 *   tap_column, stride_column  likewise inputs along a row.
 *   columns                    outputs in a row.
 *   output_row, output_column  bytes from output to output.
 *   assembly  the kernel's instructions, for NARROW_V6M_LOOPS.
 *
 * lane is 2 at a stride_column of 1, else that stride. Of three taps at stride 2 without dilation, the fourth of every
 * four words, which nothing reads, is left out.
 *
 * Records in flash have the start; of MULTIPLY and STOCK then multiplier and fold; then bytes: one for each of `taps`,
 * row by row, and but for SUM the shift. Kernels read the start; but for SUM then the shift; of MULTIPLY and STOCK then
 * multiplier and fold; then a word for each tap.
 * line: elements of a row with its padding, all that its words are made of. */
#ifndef NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M_H
#define NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M_H

#include <stdint.h>

#include "narrow_plane_walk.h"
#include "narrow_v6m.h"

#if NARROW_V6M_LOOPS

/* r0: plane, r7: weights, r8-r11: sums of four outputs, r12: from behind a row's words to the next row, lr: from behind
 * the last row's to the next four outputs, or the end of the weights, r1-r6: all else.
 * Stack: 0 start, 4 multiplier, 8 fold, 12 shift, 16 rows left, 20 end of the row, 24 output, 28 weights, 32 row,
 * 36 the four outputs at hand. */

/* Adds the halves of a low register but r5 to two sums. */
#define NARROW_V6M_SPLIT(pair, low, high) \
  "sxth r5, " pair "\n\t"                 \
  "add  " low ", r5\n\t"                  \
  "subs " pair ", " pair ", r5\n\t"       \
  "asrs " pair ", " pair ", #16\n\t"      \
  "add  " high ", " pair "\n\t"

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

#define NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M(name, end, kernel_rows, kernel_columns, block, tap_row, tap_column, \
                                           stride_row, stride_column, columns, output_row, output_column,      \
                                           assembly)                                                           \
  NARROW_C narrow_strip_kernel name;                                                                           \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name) assembly NARROW_ASSEMBLY_END(#name));

#else

/* What a kernel does: the macro's sizes. */
typedef struct {
  int32_t kernel_rows, kernel_columns, block, tap_row, tap_column, stride_row, stride_column;
  int32_t columns, output_row, output_column;
} narrow_pair_sizes;

#define NARROW_PAIR_KEPT 9 /* weights, of 3x3 taps, that registers hold from output to output */

/* The two outputs whose inputs are in the halves of words, added to first and second. */
static NARROW_INLINE void narrow_pair_sums(const narrow_pair_sizes *sizes, const int32_t *words,
                                           const int32_t *weights, int32_t *first, int32_t *second) {
  const int32_t taps = sizes->kernel_columns;
  NARROW_WRITTEN_OUT
  for (int32_t ky = 0; ky < sizes->kernel_rows; ++ky) {
    int32_t pair = 0;
    NARROW_WRITTEN_OUT
    for (int32_t kx = 0; kx < taps; ++kx) {
      pair += words[ky * sizes->tap_row + kx * sizes->tap_column] * weights[ky * taps + kx];
      if ((kx + 1) % sizes->block == 0 || kx + 1 == taps) {
        const int32_t low = (int16_t)pair;
        *first += low;
        *second += (pair - low) >> 16;
        pair = 0;
      }
    }
  }
}

static NARROW_INLINE void narrow_pair_store(narrow_end end, const narrow_rescale *rescale, int32_t at, int32_t sum,
                                            void *output) {
  if (end != NARROW_END_NONE) {
    ((int8_t *)output)[at] = narrow_finish(end, rescale, 0, sum);
  } else {
    ((int32_t *)output)[at / 4] = sum;
  }
}

static NARROW_INLINE void narrow_pair_strip(const narrow_pair_sizes *sizes, narrow_end end, const int32_t *plane,
                                            void *output, const int32_t *record, int32_t rows) {
  const int32_t fields = end == NARROW_END_NONE ? 1 : end == NARROW_END_SHIFT ? 2 : 4;
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const int32_t start = record[0], multiplier = fields == 4 ? record[2] : 0, fold = fields == 4 ? record[3] : 0;
  const int8_t shift = (int8_t)record[end == NARROW_END_NONE ? 0 : 1];
  const narrow_rescale rescale = {&start, &multiplier, &fold, &shift, 0};
  const int32_t taps = sizes->kernel_rows * sizes->kernel_columns;
  const int32_t *weights = record + fields;
  int32_t kept[NARROW_PAIR_KEPT];
  if (taps <= NARROW_PAIR_KEPT) {
    NARROW_WRITTEN_OUT
    for (int32_t i = 0; i < taps; ++i) kept[i] = weights[i];
    weights = kept;
  }
  const int32_t stride = sizes->stride_column;
  const int is_packed = stride == 2 && sizes->kernel_columns == 3 && sizes->tap_column == 1;
  const int32_t apart = stride == 1 ? 2 : 1; /* outputs of one word */
  for (int32_t y = 0; y < rows; ++y, plane += sizes->stride_row) {
    for (int32_t x = 0; x < sizes->columns; x += stride == 1 && (x & 1) != 0 ? 3 : 3 - apart) {
      const int32_t *const words = plane + (is_packed ? x / 2 * 3 : x * stride);
      const int32_t at = y * sizes->output_row + x * sizes->output_column;
      int32_t first = start, second = start;
      narrow_pair_sums(sizes, words, weights, &first, &second);
      narrow_pair_store(end, &rescale, at, first, output);
      if (x + apart < sizes->columns) {
        narrow_pair_store(end, &rescale, at + apart * sizes->output_column, second, output);
      }
    }
  }
}

#define NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M(name, end, kernel_rows, kernel_columns, block, tap_row, tap_column,     \
                                           stride_row, stride_column, columns, output_row, output_column,          \
                                           assembly)                                                               \
  static void name(const void *plane, void *output, const int32_t *record, int32_t rows) {                      \
    const narrow_pair_sizes sizes = {kernel_rows, kernel_columns, block,   tap_row,    tap_column,                 \
                                     stride_row,  stride_column,  columns, output_row, output_column};             \
    narrow_pair_strip(&sizes, NARROW_LOOP_##end, (const int32_t *)plane, output, record, rows);                                     \
  }

#endif

#endif
