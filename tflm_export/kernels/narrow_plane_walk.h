/* SPDX-License-Identifier: Apache-2.0 */
/* A layer plane by plane: one channel of the image after the other, with its padding, or a strip of its rows at a time,
 * goes to scratch memory as the core's kernel wants it, and from there to all output channels that read it.
 *
 * Whoever includes this defines narrow_plane_element, of which planes are, and the functions that are declared here. */
#ifndef NARROW_PLANE_WALK_H
#define NARROW_PLANE_WALK_H

#include "narrow_rescale.h"

/* `rows` rows of outputs from a strip of a plane. output: int8_t, or int32_t of a kernel of sums. */
typedef void narrow_strip_kernel(const narrow_plane_element *plane, void *output, const int32_t *record, int32_t rows);

/* A layer. The image may lie on its side: rows and columns are those of the plane.
 *
 * second: the kernel of channels whose bit in `wide` is set; both may be 0.
 * record: words of one, of `records`. multiplier: output channels for each input channel.
 * taps, lane, packed, line: see narrow_depthwise_conv_2d_pairs_v6m.h; others do not read them.
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

/* An element of padding. */
static NARROW_INLINE narrow_plane_element narrow_plane_padding(const narrow_plane_layer *layer);

/* Fills `own`, scratch memory of the core, before anything else. */
static NARROW_INLINE void narrow_plane_begin(const narrow_plane_layer *layer, int8_t *own);

/* A row of the image into one of the plane, whose padding at both sides is there. */
static NARROW_INLINE void narrow_plane_row(const narrow_plane_layer *layer, const int8_t *from,
                                           narrow_plane_element *row, int8_t *own);

/* What the kernel is given of a record. */
static NARROW_INLINE const int32_t *narrow_plane_record(const narrow_plane_layer *layer, const int32_t *record,
                                                        int8_t *own);

/* The rows under a strip; `first` is that of its first row, maybe in front of the image. Where the strip is the whole
 * plane, the padding above and below is there, too. */
static NARROW_INLINE void narrow_plane_strip(const narrow_plane_layer *layer, const int8_t *input, int32_t first,
                                             narrow_plane_element *plane, int8_t *own) {
  const int is_whole = layer->strip == layer->output_rows;
  int32_t y = is_whole ? layer->top : 0;
  const int32_t last = is_whole ? layer->top + layer->rows : layer->height;
  narrow_plane_element *to = plane + y * layer->pitch;
  for (; y < last; ++y, to += layer->pitch) {
    const int32_t at = first + y;
    if (is_whole || (at >= 0 && at < layer->rows)) {
      narrow_plane_row(layer, input + at * layer->row, to, own);
    } else {
      for (int32_t x = 0; x < layer->pitch; ++x) to[x] = narrow_plane_padding(layer);
    }
  }
}

/* Some rows of a channel whose kernel makes sums. */
static NARROW_INLINE void narrow_plane_sums(const narrow_plane_layer *layer, const narrow_plane_element *plane,
                                            const int32_t *record, int32_t rows, int32_t c, int8_t *output,
                                            int32_t *sums, narrow_strip_kernel *kernel) {
  for (int32_t y = 0; y < rows; ++y, plane += layer->stride * layer->pitch, output += layer->output_row) {
    kernel(plane, sums, record, 1);
    for (int32_t x = 0; x < layer->output_columns; ++x) {
      output[x * layer->output_column] = narrow_finish(layer->end, layer->rescale, c, sums[x]);
    }
  }
}

/* The layer. scratch: height * pitch elements, then for sums output_columns words, then what the core needs; aligned to
 * 4. */
static NARROW_INLINE void narrow_plane_walk(const narrow_plane_layer *layer, const int8_t *input, int8_t *output,
                                            int8_t *scratch) {
  const int32_t size = layer->height * layer->pitch;
  narrow_plane_element *const plane = (narrow_plane_element *)(void *)scratch;
  int32_t *const sums = (int32_t *)(void *)(scratch + ((size * (int32_t)sizeof *plane + 3) & ~3));
  int8_t *const own = (int8_t *)(void *)(sums + (layer->end == NARROW_END_NONE ? 0 : layer->output_columns));
  narrow_plane_begin(layer, own);
  for (int32_t i = 0; i < size; ++i) plane[i] = narrow_plane_padding(layer);
  for (int32_t image = 0; image < layer->images; ++image, input += layer->image, output += layer->output_image) {
    const int32_t *records = layer->records;
    for (int32_t c = 0; c < layer->channels; ++c, records += layer->multiplier * layer->record) {
      int32_t rows;
      for (int32_t y = 0; y < layer->output_rows; y += rows) {
        rows = layer->output_rows - y < layer->strip ? layer->output_rows - y : layer->strip;
        narrow_plane_strip(layer, input + c * layer->channel, y * layer->stride - layer->top, plane, own);
        int8_t *to = output + c * layer->multiplier * layer->output_channel + y * layer->output_row;
        for (int32_t i = 0; i < layer->multiplier; ++i, to += layer->output_channel) {
          const int32_t *const record = narrow_plane_record(layer, records + i * layer->record, own);
          const int32_t at = c * layer->multiplier + i;
          const int is_wide = layer->second != 0 && ((layer->wide[at >> 3] >> (at & 7)) & 1) != 0;
          narrow_strip_kernel *const kernel = is_wide ? layer->second : layer->kernel;
          if (layer->end == NARROW_END_NONE) {
            kernel(plane, to, record, rows);
          } else {
            narrow_plane_sums(layer, plane, record, rows, at, to, sums, kernel);
          }
        }
      }
    }
  }
}

#endif
