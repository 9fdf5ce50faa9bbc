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

#include "narrow_memory.h"
#include "narrow_v6m.h"

typedef int32_t narrow_plane_element;

#include "narrow_plane_walk.h"

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

/* Output x of a row: which words, and which half of them. */
static NARROW_INLINE int32_t narrow_pair_sum(const narrow_pair_sizes *sizes, const int32_t *row, int32_t x,
                                             const int32_t *weights, int32_t sum) {
  const int32_t stride = sizes->stride_column, taps = sizes->kernel_columns;
  const int is_packed = stride == 2 && taps == 3 && sizes->tap_column == 1;
  const int32_t high = stride == 1 ? (x >> 1) & 1 : x & 1;
  const int32_t *words = row + (stride == 1 ? x - 2 * high : is_packed ? x / 2 * 3 : (x - high) * stride);
  for (int32_t ky = 0; ky < sizes->kernel_rows; ++ky, words += sizes->tap_row, weights += taps) {
    int32_t pair = 0;
    for (int32_t kx = 0; kx < taps; ++kx) {
      pair += words[kx * sizes->tap_column] * weights[kx];
      if ((kx + 1) % sizes->block == 0 || kx + 1 == taps) {
        sum += high != 0 ? (pair - (int16_t)pair) >> 16 : (int16_t)pair;
        pair = 0;
      }
    }
  }
  return sum;
}

static NARROW_INLINE void narrow_pair_strip(const narrow_pair_sizes *sizes, narrow_end end, const int32_t *plane,
                                            void *output, const int32_t *record, int32_t rows) {
  const int32_t fields = end == NARROW_END_NONE ? 1 : end == NARROW_END_SHIFT ? 2 : 4;
  const int8_t shift = (int8_t)record[end == NARROW_END_NONE ? 0 : 1];
  const narrow_rescale rescale = {record, record + (fields == 4 ? 2 : 0), record + (fields == 4 ? 3 : 0), &shift, 0};
  for (int32_t y = 0; y < rows; ++y, plane += sizes->stride_row) {
    for (int32_t x = 0; x < sizes->columns; ++x) {
      const int32_t sum = narrow_pair_sum(sizes, plane, x, record + fields, record[0]);
      const int32_t at = y * sizes->output_row + x * sizes->output_column;
      if (end != NARROW_END_NONE) {
        ((int8_t *)output)[at] = narrow_finish(end, &rescale, 0, sum);
      } else {
        ((int32_t *)output)[at / 4] = sum;
      }
    }
  }
}

#define NARROW_DEPTHWISE_CONV_2D_PAIRS_V6M(name, end, kernel_rows, kernel_columns, block, tap_row, tap_column,     \
                                           stride_row, stride_column, columns, output_row, output_column,          \
                                           assembly)                                                               \
  static void name(const int32_t *plane, void *output, const int32_t *record, int32_t rows) {                      \
    const narrow_pair_sizes sizes = {kernel_rows, kernel_columns, block,   tap_row,    tap_column,                 \
                                     stride_row,  stride_column,  columns, output_row, output_column};             \
    narrow_pair_strip(&sizes, NARROW_LOOP_##end, plane, output, record, rows);                                     \
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
    const int8_t *from = row;
    int8_t edge[5];
    if (start >= 0 && start + 4 < width) {
      from += start;
    } else {
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

/* Any lane. */
static NARROW_INLINE void narrow_pair_any_row(const int8_t *line, int32_t lane, int32_t words, int32_t *to) {
  for (int32_t i = 0; i < words; ++i) to[i] = line[i] + line[i + lane] * (1 << 16);
}

static NARROW_INLINE narrow_plane_element narrow_plane_padding(const narrow_plane_layer *layer) {
  return layer->padding * ((1 << 16) + 1);
}

/* `own` has a record, then a row. */
static NARROW_INLINE int8_t *narrow_pair_line(const narrow_plane_layer *layer, int8_t *own) {
  return own + 4 * (4 + layer->taps);
}

static NARROW_INLINE void narrow_plane_begin(const narrow_plane_layer *layer, int8_t *own) {
  memset(narrow_pair_line(layer, own), layer->padding, (size_t)layer->line);
}

static NARROW_INLINE void narrow_plane_row(const narrow_plane_layer *layer, const int8_t *from,
                                           narrow_plane_element *row, int8_t *own) {
  const int32_t columns = layer->columns, pitch = layer->pitch, column = layer->column;
  if (column == 1 && layer->packed != 0) { /* the row is there as it is */
    narrow_pair_whole_row_2(from, columns, layer->left, layer->padding, pitch, row);
    return;
  }
  if (column == 1 && layer->lane == 2 && layer->left <= 1) {
    narrow_pair_whole_row(from, columns, layer->left, layer->padding, pitch, row);
    return;
  }
  int8_t *const line = narrow_pair_line(layer, own);
  int8_t *to = line + layer->left;
  int32_t x = 0;
  for (; x + 3 < columns; x += 4, to += 4) {
    to[0] = *from;
    from += column;
    to[1] = *from;
    from += column;
    to[2] = *from;
    from += column;
    to[3] = *from;
    from += column;
  }
  for (; x < columns; ++x, from += column) *to++ = *from;
  if (layer->packed != 0) {
    narrow_pair_row_2(line, pitch, row);
  } else if (layer->lane == 2) {
    narrow_pair_row_1(line, pitch, row);
  } else {
    narrow_pair_any_row(line, layer->lane, pitch, row);
  }
}

static NARROW_INLINE const int32_t *narrow_plane_record(const narrow_plane_layer *layer, const int32_t *record,
                                                        int8_t *own) {
  const int32_t taps = layer->taps, shifts = layer->end == NARROW_END_NONE;
  const int32_t words = layer->record - (taps + shifts + 3) / 4, fields = words + shifts;
  const int32_t *const bytes = record + words;
  int32_t *const to = (int32_t *)(void *)own;
  to[0] = record[0];
  if (shifts != 0) to[1] = (int8_t)((uint32_t)bytes[taps / 4] >> (8 * (taps & 3)));
  for (int32_t i = 1; i < words; ++i) to[i + 1] = record[i];
  for (int32_t i = 0; i < taps; ++i) to[fields + i] = (int8_t)((uint32_t)bytes[i / 4] >> (8 * (i & 3)));
  return to;
}

#endif
