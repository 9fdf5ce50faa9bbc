/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution plane by plane, for cores with the DSP extension; also any convolution of one input channel.
 *
 * A plane is one channel of the image with its padding, or a strip of its rows, as int16, so that two inputs that are
 * next to one another are an aligned word, and meet two taps in one SMLAD. The loop over a plane is made for the sizes
 * of a layer: c/dsp_plane_loop.py writes it, in assembly, into the source of the model.
 *
 * NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, kernel_rows, kernel_columns, row_words, piece, overlap, tap_row,
 * tap_column, stride_row, stride_column, columns, output_row, output_column, assembly) makes a narrow_strip_kernel:
 *
 *   end     SHIFT, MULTIPLY or STOCK (folded): int8 outputs, as in narrow_kernels.h; SUM: int32 sums.
 *   row_words  words of weights of a row of the kernel.
 *   piece   taps of such a row that are together, the last ones fewer.
 *   overlap whether the words of a piece have the taps (0, 1), (1, 2), (2, 3), ..., else (0, 1), (2, 3), ...; lower half
 *           first, and 0 where there is no second one.
 *   tap_row, tap_column        elements of the plane from tap to tap.
 *   stride_row, stride_column  and from window to window.
 *   columns                    outputs in a row.
 *   output_row, output_column  bytes from output to output.
 *   assembly  the kernel's instructions, for NARROW_DSP_LOOPS.
 *
 * A record has the start; but for SUM then the shift; of MULTIPLY and STOCK then multiplier and fold; then the weights.
 * Two words of weights are the bytes of one: the first one bytes 0 and 2, the second one bytes 1 and 3. */
#ifndef NARROW_DEPTHWISE_CONV_2D_PLANES_DSP_H
#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP_H

#include <stdint.h>

#include "narrow_assembly.h"
#include "narrow_plane_walk.h"

#if NARROW_DSP_LOOPS

#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, kernel_rows, kernel_columns, row_words, piece, overlap,   \
                                            tap_row, tap_column, stride_row, stride_column, columns, output_row, \
                                            output_column, assembly)                                             \
  NARROW_C narrow_strip_kernel name;                                                                         \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name) assembly NARROW_ASSEMBLY_END(#name));

#else

/* The weight of a tap of a row of the kernel. word: of that row's first tap. */
static NARROW_INLINE int32_t narrow_plane_weight(const int32_t *words, int32_t word, int32_t tap, int32_t taps,
                                                 int32_t piece, int32_t overlap) {
  for (; tap >= piece; tap -= piece, taps -= piece) word += overlap != 0 ? piece - 1 : (piece + 1) / 2;
  const int32_t last = (taps < piece ? taps : piece) - 1;
  const int32_t upper = overlap != 0 ? last > 0 && tap == last : tap & 1;
  word += overlap != 0 ? tap - upper : tap / 2;
  return (int8_t)((uint32_t)words[word / 2] >> (8 * (word & 1) + 16 * upper));
}

/* What a kernel does: the macro's sizes. */
typedef struct {
  int32_t kernel_rows, kernel_columns, row_words, piece, overlap, tap_row, tap_column, stride_row, stride_column;
  int32_t columns, output_row, output_column;
} narrow_plane_sizes;

static NARROW_INLINE int32_t narrow_plane_sum(const narrow_plane_sizes *sizes, const int16_t *x, const int32_t *words,
                                              int32_t sum) {
  const int32_t taps = sizes->kernel_columns;
  for (int32_t ky = 0; ky < sizes->kernel_rows; ++ky, x += sizes->tap_row) {
    for (int32_t kx = 0; kx < taps; ++kx) {
      const int32_t word = ky * sizes->row_words;
      sum += x[kx * sizes->tap_column] * narrow_plane_weight(words, word, kx, taps, sizes->piece, sizes->overlap);
    }
  }
  return sum;
}

static NARROW_INLINE void narrow_plane(const narrow_plane_sizes *sizes, narrow_end end, const int16_t *plane,
                                       void *output, const int32_t *record, int32_t rows) {
  const int32_t fields = end == NARROW_END_NONE ? 1 : end == NARROW_END_SHIFT ? 2 : 4;
  const int8_t shift = (int8_t)record[end == NARROW_END_NONE ? 0 : 1];
  const narrow_rescale rescale = {record, record + (fields == 4 ? 2 : 0), record + (fields == 4 ? 3 : 0), &shift, 0};
  for (int32_t y = 0; y < rows; ++y, plane += sizes->stride_row) {
    for (int32_t x = 0; x < sizes->columns; ++x) {
      const int32_t sum = narrow_plane_sum(sizes, plane + x * sizes->stride_column, record + fields, record[0]);
      const int32_t at = y * sizes->output_row + x * sizes->output_column;
      if (end != NARROW_END_NONE) {
        ((int8_t *)output)[at] = narrow_finish(end, &rescale, 0, sum);
      } else {
        ((int32_t *)output)[at / 4] = sum;
      }
    }
  }
}

#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, kernel_rows, kernel_columns, row_words, piece, overlap,     \
                                            tap_row, tap_column, stride_row, stride_column, columns, output_row,   \
                                            output_column, assembly)                                               \
  static void name(const void *plane, void *output, const int32_t *record, int32_t rows) {                      \
    const narrow_plane_sizes sizes = {kernel_rows, kernel_columns, row_words,     piece,   overlap,    tap_row,    \
                                      tap_column,  stride_row,     stride_column, columns, output_row, output_column}; \
    narrow_plane(&sizes, NARROW_LOOP_##end, (const int16_t *)plane, output, record, rows);                                          \
  }

#endif

#endif
