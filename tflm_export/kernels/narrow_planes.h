/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution plane by plane: one channel of the image, with its padding, in scratch memory at a time. */
#ifndef NARROW_PLANES_H
#define NARROW_PLANES_H

#include "narrow_rescale.h"

#define NARROW_STRING(x) NARROW_STRING_(x)
#define NARROW_STRING_(x) #x

/* What follows the sums of one channel, in the order in which assembly reads it.
 *
 * As in narrow_rescale; rows: of the output that are computed. */
typedef struct {
  int32_t start, multiplier, fold, shift, rows;
} narrow_channel;

/* A plane's outputs, [rows, width], `pixel` elements apart, from its input with padding. Made by a macro, which has the
 * window's sizes in it. */
typedef void narrow_plane_kernel(const void *plane, void *output, const int32_t *weights,
                                 const narrow_channel *channel);

static NARROW_INLINE narrow_channel narrow_channel_of(const narrow_rescale *rescale, int32_t c, int32_t rows) {
  narrow_channel channel;
  channel.start = rescale->start[c];
  channel.multiplier = rescale->multiplier != 0 ? rescale->multiplier[c] : 1;
  channel.fold = rescale->fold != 0 ? rescale->fold[c] : 0;
  channel.shift = rescale->shift[c];
  channel.rows = rows;
  return channel;
}

#endif
