/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of every kind and dense layers, of any types: the form WeightedSum. */
#ifndef NARROW_WEIGHTED_SUM_H
#define NARROW_WEIGHTED_SUM_H

#include "narrow_axis.h"
#include "narrow_products.h"

/* Images [images, height, width, groups * inputs] under windows, each of which has groups * channels outputs.
 *
 * inputs, channels: of one group; channels of a group see inputs of the same group only. */
typedef struct {
  int32_t images, groups, inputs, channels;
  narrow_axis height, width;
} narrow_sliding;

/* Where the taps of a window with elements lie. */
typedef struct {
  narrow_taps rows, columns;
  int32_t image; /* place of the image */
} narrow_covered;

/* The products of an output channel in a window. x, w: at the first input of the group, and at the channel's weights.
 * The innermost loop goes over the inputs of the group; if is_depthwise, there is one, and it goes over columns.
 * depth: from one pixel to the next. */
static NARROW_INLINE int64_t narrow_window_products(narrow_type sum, int is_depthwise, const narrow_sliding *windows,
                                                    int32_t depth, const narrow_covered *covered, narrow_elements x,
                                                    narrow_elements w) {
  const int32_t next_column = windows->width.element_step * depth, next_tap = windows->width.tap_step * windows->inputs;
  const int is_short = windows->inputs < 16 && (NARROW_PAIRED_PRODUCTS || windows->inputs > 4); /* as measured */
  const int in_a_row = !is_depthwise && is_short && next_column == windows->inputs &&
                       next_tap == windows->inputs;
  const int32_t x_at = x.at, w_at = w.at;
  int64_t total = 0;
  x.step = is_depthwise ? next_column : 1;
  w.step = is_depthwise ? next_tap : 1;
  for (int32_t i = 0; i < covered->rows.count; ++i) {
    const int32_t row = covered->rows.element + i * windows->height.element_step;
    const int32_t tap = covered->rows.first + i * windows->height.tap_step;
    x.at = x_at + (row * windows->width.size + covered->columns.element) * depth;
    w.at = w_at + (tap * windows->width.kernel + covered->columns.first) * windows->inputs;
    if (is_depthwise) {
      total += narrow_products(sum, &x, &w, covered->columns.count);
    } else if (in_a_row) { /* all taps of a row are neighbours, in both arrays */
      total += narrow_products(sum, &x, &w, covered->columns.count * windows->inputs);
    } else {
      for (int32_t j = 0; j < covered->columns.count; ++j, x.at += next_column, w.at += next_tap) {
        total += narrow_products(sum, &x, &w, windows->inputs);
      }
    }
  }
  return total;
}

/* All channels of one window; `at`: place of its first output. Parameters as below. */
static NARROW_INLINE void narrow_one_window(narrow_type sum, int is_depthwise, narrow_rounding rounding,
                                            int per_channel, narrow_type bias_type, const narrow_sliding *windows,
                                            const narrow_factors *factors, const narrow_elements *x,
                                            const narrow_elements *w, const void *bias, const narrow_output *output,
                                            void *y, int32_t at, const narrow_covered *covered) {
  const int32_t size = windows->height.kernel * windows->width.kernel * windows->inputs;
  const int32_t depth = windows->groups * windows->inputs;
  narrow_elements inputs = *x, weights = *w;
  int32_t c = 0;
  inputs.at = covered->image;
  weights.at = 0;
  for (int32_t group = 0; group < windows->groups; ++group, inputs.at += windows->inputs) {
    for (int32_t k = 0; k < windows->channels; ++k, ++c, weights.at += size) {
      const int64_t total = narrow_load(bias_type, bias, c) +
                            narrow_window_products(sum, is_depthwise, windows, depth, covered, inputs, weights);
      narrow_give(sum, total, rounding, factors, per_channel ? c : 0, output, y, at + c);
    }
  }
}

/* y = Zy + factor * (bias + sum over windows of (x - Zx) * (w - Zw)), clamped.
 *
 * sum: NARROW_INT32, which wraps, or NARROW_INT64. is_depthwise: whether groups have one input.
 * per_channel: whether there is a factor for each channel, else one for all.
 * x, w: types, zero points and arrays; weights are [groups, channels, kernel height, kernel width, inputs].
 * bias: [groups * channels]. Outside of the image, and between its elements, there is Zx. */
static NARROW_INLINE void narrow_weighted_sum(narrow_type sum, int is_depthwise, narrow_rounding rounding,
                                              int per_channel, narrow_type bias_type, const narrow_sliding *windows,
                                              const narrow_factors *factors, const narrow_elements *x,
                                              const narrow_elements *w, const void *bias, const narrow_output *output,
                                              void *y) {
  const int32_t image = windows->height.size * windows->width.size * windows->groups * windows->inputs;
  const int32_t channels = windows->groups * windows->channels;
  int32_t at = 0;
  for (int32_t i = 0; i < windows->images; ++i) {
    for (int32_t row = 0; row < windows->height.output; ++row) {
      const narrow_taps rows = narrow_taps_of(&windows->height, row);
      for (int32_t column = 0; column < windows->width.output; ++column, at += channels) {
        const narrow_covered covered = {rows, narrow_taps_of(&windows->width, column), i * image};
        narrow_one_window(sum, is_depthwise, rounding, per_channel, bias_type, windows, factors, x, w, bias, output, y,
                          at, &covered);
      }
    }
  }
}

/* Some output channels of a layer, whose others are computed elsewhere.
 *
 * count: of them. from, to: for each of them, where the first pixel's inputs and its output are.
 * x_pixel, x_image, y_pixel, y_image: from one pixel and one image to the next. */
typedef struct {
  int32_t count;
  const int32_t *from, *to;
  int32_t x_pixel, x_image, y_pixel, y_image;
} narrow_chosen;

/* The same of chosen channels. windows: of one group with one channel. w, bias and, if per_channel, factors: theirs. */
static NARROW_INLINE void narrow_weighted_sum_of(int is_depthwise, narrow_rounding rounding, int per_channel,
                                                 const narrow_sliding *windows, const narrow_chosen *chosen,
                                                 const narrow_factors *factors, const narrow_elements *x,
                                                 const narrow_elements *w, const int32_t *bias,
                                                 const narrow_output *output, void *y) {
  const int32_t size = windows->height.kernel * windows->width.kernel * windows->inputs;
  narrow_elements inputs = *x, weights = *w;
  for (int32_t c = 0; c < chosen->count; ++c) {
    weights.at = c * size;
    for (int32_t i = 0; i < windows->images; ++i) {
      int32_t at = chosen->to[c] + i * chosen->y_image;
      inputs.at = chosen->from[c] + i * chosen->x_image;
      for (int32_t row = 0; row < windows->height.output; ++row) {
        const narrow_taps rows = narrow_taps_of(&windows->height, row);
        for (int32_t column = 0; column < windows->width.output; ++column, at += chosen->y_pixel) {
          const narrow_covered covered = {rows, narrow_taps_of(&windows->width, column), inputs.at};
          const int64_t total = bias[c] + narrow_window_products(NARROW_INT32, is_depthwise, windows, chosen->x_pixel,
                                                                 &covered, inputs, weights);
          narrow_give(NARROW_INT32, total, rounding, factors, per_channel ? c : 0, output, y, at);
        }
      }
    }
  }
}

#endif
