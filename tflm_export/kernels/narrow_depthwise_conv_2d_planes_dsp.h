/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution plane by plane, for cores with the DSP extension; also any convolution of one input channel.
 *
 * A plane is one channel of the image with its padding, or a strip of its rows, as int16, so that two inputs that are
 * next to one another are an aligned word, and meet two taps in one SMLAD. The loop over a plane is made for the sizes
 * of a layer: c/dsp_plane_loop.py writes it, in assembly, into the source of the model.
 *
 * NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, kernel_rows, kernel_columns, row_words, piece, overlap, tap_row,
 * tap_column, stride_row, stride_column, columns, output_row, output_column, assembly) makes a narrow_plane_dsp_kernel:
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

#include "narrow_assembly.h"
#include "narrow_rescale.h"

/* `rows` rows of outputs from a strip of a plane. output: int8_t, or int32_t of a kernel of sums. */
typedef void narrow_plane_dsp_kernel(const int16_t *plane, void *output, const int32_t *record, int32_t rows);

/* A layer. The image may lie on its side: rows and columns are those of the plane.
 *
 * record: words of one, of `records`. multiplier: output channels for each input channel.
 * rows, columns: of the image. row, column, channel, image: bytes from one of them to the next in the input.
 * height, pitch: rows of a strip of the plane and elements from row to row, an even number; height is that of the whole
 * plane with its padding where strip is output_rows.
 * top, left: padding in front. stride: rows from window to window. strip: rows of output that are made of a strip.
 * output_row and on: likewise bytes of the output.
 * end: of kernels of sums, with the rescale that it reads; else NARROW_END_NONE. */
typedef struct {
  narrow_plane_dsp_kernel *kernel;
  const int32_t *records;
  int32_t record, images, channels, multiplier, padding;
  int32_t rows, columns, row, column, channel, image;
  int32_t height, pitch, top, left, stride, strip;
  int32_t output_rows, output_columns, output_row, output_column, output_channel, output_image;
  narrow_end end;
  const narrow_rescale *rescale;
} narrow_plane_layer;

#if NARROW_DSP_LOOPS

#define NARROW_DEPTHWISE_CONV_2D_PLANES_DSP(name, end, kernel_rows, kernel_columns, row_words, piece, overlap,   \
                                            tap_row, tap_column, stride_row, stride_column, columns, output_row, \
                                            output_column, assembly)                                             \
  NARROW_C narrow_plane_dsp_kernel name;                                                                         \
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
  static void name(const int16_t *plane, void *output, const int32_t *record, int32_t rows) {                      \
    const narrow_plane_sizes sizes = {kernel_rows, kernel_columns, row_words,     piece,   overlap,    tap_row,    \
                                      tap_column,  stride_row,     stride_column, columns, output_row, output_column}; \
    narrow_plane(&sizes, NARROW_LOOP_##end, plane, output, record, rows);                                          \
  }

#endif

/* Widens `count` elements that are `step` bytes apart. */
static NARROW_INLINE void narrow_plane_row(const int8_t *from, int32_t step, int32_t count, int16_t *to) {
  for (; count > 3; count -= 4, from += 4 * step, to += 4) {
    const int16_t a = from[0], b = from[step], c = from[2 * step], d = from[3 * step];
    to[0] = a; /* behind all loads, which it might alias */
    to[1] = b;
    to[2] = c;
    to[3] = d;
  }
  for (; count > 0; --count, from += step) *to++ = *from;
}

/* The rows under a strip; `first` is that of its first row, maybe in front of the image. Padding at both sides is there,
 * and, where the strip is the whole plane, that above and below, too. */
static NARROW_INLINE void narrow_plane_strip(const narrow_plane_layer *layer, const int8_t *input, int32_t first,
                                             int16_t *plane) {
  const int is_whole = layer->strip == layer->output_rows;
  int16_t *to = plane + layer->left;
  int32_t y = 0;
  if (is_whole) {
    to += layer->top * layer->pitch;
    y = layer->top;
  }
  const int32_t last = is_whole ? layer->top + layer->rows : layer->height;
  const int8_t *from = input + (first + y) * layer->row;
  for (; y < last; ++y, to += layer->pitch, from += layer->row) {
    if (is_whole || (first + y >= 0 && first + y < layer->rows)) {
      if (layer->column == 1) {
        narrow_plane_row(from, 1, layer->columns, to);
      } else {
        narrow_plane_row(from, layer->column, layer->columns, to);
      }
    } else {
      for (int32_t x = 0; x < layer->columns; ++x) to[x] = (int16_t)layer->padding;
    }
  }
}

/* Some rows of a channel whose kernel makes sums. */
static NARROW_INLINE void narrow_plane_sums(const narrow_plane_layer *layer, const int16_t *plane,
                                            const int32_t *record, int32_t rows, int32_t c, int8_t *output,
                                            int32_t *sums) {
  for (int32_t y = 0; y < rows; ++y, plane += layer->stride * layer->pitch, output += layer->output_row) {
    layer->kernel(plane, sums, record, 1);
    for (int32_t x = 0; x < layer->output_columns; ++x) {
      output[x * layer->output_column] = narrow_finish(layer->end, layer->rescale, c, sums[x]);
    }
  }
}

/* The layer. scratch: 2 * height * pitch bytes, then for sums output_columns words; aligned to 4. */
static NARROW_INLINE void narrow_depthwise_conv_2d_planes_dsp(const narrow_plane_layer *layer, const int8_t *input,
                                                              int8_t *output, int8_t *scratch) {
  const int32_t size = layer->height * layer->pitch;
  int16_t *const plane = (int16_t *)(void *)scratch;
  int32_t *const sums = (int32_t *)(void *)(scratch + 2 * size);
  for (int32_t i = 0; i < size; ++i) plane[i] = (int16_t)layer->padding;
  for (int32_t image = 0; image < layer->images; ++image, input += layer->image, output += layer->output_image) {
    const int32_t *record = layer->records;
    for (int32_t c = 0; c < layer->channels; ++c, record += layer->multiplier * layer->record) {
      int32_t rows;
      for (int32_t y = 0; y < layer->output_rows; y += rows) {
        rows = layer->output_rows - y < layer->strip ? layer->output_rows - y : layer->strip;
        narrow_plane_strip(layer, input + c * layer->channel, y * layer->stride - layer->top, plane);
        int8_t *to = output + c * layer->multiplier * layer->output_channel + y * layer->output_row;
        for (int32_t i = 0; i < layer->multiplier; ++i, to += layer->output_channel) {
          if (layer->end == NARROW_END_NONE) {
            layer->kernel(plane, to, record + i * layer->record, rows);
          } else {
            narrow_plane_sums(layer, plane, record + i * layer->record, rows, c * layer->multiplier + i, to, sums);
          }
        }
      }
    }
  }
}

#endif
