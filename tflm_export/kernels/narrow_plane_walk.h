/* SPDX-License-Identifier: Apache-2.0 */
/* A layer plane by plane: one channel of the image after the other, with its padding, or a strip of its rows at a time,
 * goes to scratch memory as the core's kernel wants it, and from there to all output channels that read it. */
#ifndef NARROW_PLANE_WALK_H
#define NARROW_PLANE_WALK_H

#include "narrow_memory.h"
#include "narrow_plane_rows.h"
#include "narrow_rescale.h"

/* What a plane is made of: see narrow_depthwise_conv_2d_planes_dsp.h and narrow_depthwise_conv_2d_pairs_v6m.h. */
typedef enum { NARROW_PLANE_INT16, NARROW_PLANE_PAIRS } narrow_plane_kind;

/* `rows` rows of outputs from a strip of a plane. output: int8_t, or int32_t of a kernel of sums. */
typedef void narrow_strip_kernel(const void *plane, void *output, const int32_t *record, int32_t rows);

/* A layer. The image may lie on its side: rows and columns are those of the plane.
 *
 * second: the kernel of channels whose bit in `wide` is set; both may be 0.
 * record: words of one, of `records`. multiplier: output channels for each input channel.
 * taps, lane, packed, line: of pairs, see there; others do not read them.
 * rows, columns: of the image. row, column, channel, image: bytes from one of them to the next in the input.
 * height, pitch: rows of a strip of the plane and elements from row to row; height is that of the whole plane with its
 * padding where strip is output_rows.
 * top, left: padding in front. stride: rows from window to window. strip: rows of output that are made of a strip.
 * output_row and on: likewise bytes of the output.
 * end: of kernels of sums, with the rescale that it reads; else NARROW_END_NONE. */
typedef struct {
  narrow_strip_kernel *kernel, *second;
  const uint8_t *wide;
  const int32_t *records;
  int32_t record, taps, lane, packed, line, images, channels, multiplier, padding;
  int32_t rows, columns, row, column, channel, image;
  int32_t height, pitch, top, left, stride, strip;
  int32_t output_rows, output_columns, output_row, output_column, output_channel, output_image;
  narrow_end end;
  const narrow_rescale *rescale;
} narrow_plane_layer;

/* Bytes from row to row of the plane. */
static NARROW_INLINE int32_t narrow_plane_pitch(const narrow_plane_layer *layer, narrow_plane_kind kind) {
  return layer->pitch * (kind == NARROW_PLANE_PAIRS ? 4 : 2);
}

/* Elements of padding. */
static NARROW_INLINE void narrow_plane_fill(const narrow_plane_layer *layer, narrow_plane_kind kind, int32_t count,
                                            int8_t *to) {
  if (kind == NARROW_PLANE_PAIRS) {
    for (int32_t i = 0; i < count; ++i) ((int32_t *)(void *)to)[i] = layer->padding * ((1 << 16) + 1);
  } else {
    for (int32_t i = 0; i < count; ++i) ((int16_t *)(void *)to)[i] = (int16_t)layer->padding;
  }
}

/* A row of the image. line: `line` bytes, with padding where no image is. */
static NARROW_INLINE void narrow_plane_pairs(const narrow_plane_layer *layer, const int8_t *from, int32_t *row,
                                             int8_t *line) {
  const int32_t columns = layer->columns, pitch = layer->pitch, column = layer->column;
  if (column == 1 && layer->packed != 0) { /* the row is there as it is */
    narrow_pair_whole_row_2(from, columns, layer->left, layer->padding, pitch, row);
    return;
  }
  if (column == 1 && layer->lane == 2 && layer->left <= 1) {
    narrow_pair_whole_row(from, columns, layer->left, layer->padding, pitch, row);
    return;
  }
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

/* The same; own: scratch memory, of pairs for a record and a line. */
static NARROW_INLINE void narrow_plane_row(const narrow_plane_layer *layer, narrow_plane_kind kind, const int8_t *from,
                                           int8_t *row, int8_t *own) {
  if (kind == NARROW_PLANE_PAIRS) {
    narrow_plane_pairs(layer, from, (int32_t *)(void *)row, own + 4 * (4 + layer->taps));
  } else if (layer->column == 1) {
    narrow_widen_row(from, 1, layer->columns, (int16_t *)(void *)row + layer->left);
  } else {
    narrow_widen_row(from, layer->column, layer->columns, (int16_t *)(void *)row + layer->left);
  }
}

/* The record that the kernel of pairs reads, with a word for each tap. */
static NARROW_INLINE const int32_t *narrow_plane_record(const narrow_plane_layer *layer, const int32_t *record,
                                                        int32_t *to) {
  const int32_t taps = layer->taps, shifts = layer->end == NARROW_END_NONE;
  const int32_t words = layer->record - (taps + shifts + 3) / 4, fields = words + shifts;
  const int32_t *const bytes = record + words;
  to[0] = record[0];
  if (shifts != 0) to[1] = (int8_t)((uint32_t)bytes[taps / 4] >> (8 * (taps & 3)));
  for (int32_t i = 1; i < words; ++i) to[i + 1] = record[i];
  for (int32_t i = 0; i < taps; ++i) to[fields + i] = (int8_t)((uint32_t)bytes[i / 4] >> (8 * (i & 3)));
  return to;
}

/* The rows under a strip; `first` is that of its first row, maybe in front of the image. Padding at both sides is there,
 * and, where the strip is the whole plane, that above and below, too. */
static NARROW_INLINE void narrow_plane_strip(const narrow_plane_layer *layer, narrow_plane_kind kind,
                                             const int8_t *input, int32_t first, int8_t *plane, int8_t *own) {
  const int is_whole = layer->strip == layer->output_rows;
  const int32_t pitch = narrow_plane_pitch(layer, kind);
  int32_t y = is_whole ? layer->top : 0;
  const int32_t last = is_whole ? layer->top + layer->rows : layer->height;
  for (int8_t *to = plane + y * pitch; y < last; ++y, to += pitch) {
    const int32_t at = first + y;
    if (is_whole || (at >= 0 && at < layer->rows)) {
      narrow_plane_row(layer, kind, input + at * layer->row, to, own);
    } else {
      narrow_plane_fill(layer, kind, layer->pitch, to);
    }
  }
}

/* Some rows of channel c from a kernel of sums. */
static NARROW_INLINE void narrow_plane_sums(const narrow_plane_layer *layer, narrow_strip_kernel *kernel,
                                            const int8_t *plane, int32_t pitch, const int32_t *record, int32_t rows,
                                            int32_t c, int8_t *output, int32_t *sums) {
  for (int32_t y = 0; y < rows; ++y, plane += layer->stride * pitch, output += layer->output_row) {
    kernel(plane, sums, record, 1);
    for (int32_t x = 0; x < layer->output_columns; ++x) {
      output[x * layer->output_column] = narrow_finish(layer->end, layer->rescale, c, sums[x]);
    }
  }
}

/* The layer. scratch: height rows of the plane, then for sums output_columns words, then of pairs 4 + taps words and
 * `line` bytes; aligned to 4. */
static NARROW_WALK void narrow_plane_walk(const narrow_plane_layer *layer, narrow_plane_kind kind,
                                          const int8_t *input, int8_t *output, int8_t *scratch) {
  const int32_t pitch = narrow_plane_pitch(layer, kind);
  int32_t *const sums = (int32_t *)(void *)(scratch + ((layer->height * pitch + 3) & ~3));
  int32_t *const own = sums + (layer->end == NARROW_END_NONE ? 0 : layer->output_columns);
  narrow_plane_fill(layer, kind, layer->height * layer->pitch, scratch);
  if (kind == NARROW_PLANE_PAIRS) memset(own + 4 + layer->taps, layer->padding, (size_t)layer->line);
  for (int32_t image = 0; image < layer->images; ++image, input += layer->image, output += layer->output_image) {
    const int32_t *record = layer->records;
    for (int32_t c = 0; c < layer->channels; ++c, record += layer->multiplier * layer->record) {
      int32_t rows;
      for (int32_t y = 0; y < layer->output_rows; y += rows) {
        rows = layer->output_rows - y < layer->strip ? layer->output_rows - y : layer->strip;
        narrow_plane_strip(layer, kind, input + c * layer->channel, y * layer->stride - layer->top, scratch,
                           (int8_t *)own);
        int8_t *to = output + c * layer->multiplier * layer->output_channel + y * layer->output_row;
        for (int32_t i = 0; i < layer->multiplier; ++i, to += layer->output_channel) {
          const int32_t at = c * layer->multiplier + i;
          const int is_wide = layer->second != 0 && ((layer->wide[at >> 3] >> (at & 7)) & 1) != 0;
          narrow_strip_kernel *const kernel = is_wide ? layer->second : layer->kernel;
          const int32_t *read = record + i * layer->record;
          if (kind == NARROW_PLANE_PAIRS) read = narrow_plane_record(layer, read, own);
          if (layer->end == NARROW_END_NONE) {
            kernel(scratch, to, read, rows);
          } else {
            narrow_plane_sums(layer, kernel, scratch, pitch, read, rows, at, to, sums);
          }
        }
      }
    }
  }
}

#endif
