/* Random layers with weights, within what narrow_kernels.h allows, and their exact outputs. */
#ifndef LAYER_H
#define LAYER_H

#include "check.h"
#include "narrow_kernels.h"

typedef enum { SHIFT, MULTIPLY, WIDE, STOCK, ENDS } end_kind;

/* channels rows of `elements` weights each, with the rescale acc * multiplier / 2^shift of each channel. `rescale` and
 * what it points to are what a kernel is given. */
typedef struct {
  end_kind end;
  int32_t channels, elements;
  int8_t *weights;
  int32_t *bias;
  int32_t input_zero, output_zero;
  narrow_rescale rescale;
  int32_t *start, *multiplier, *fold;
  int8_t *shift;
} layer;

/* Draws the rescale of channel c until it is one that the end may be given. */
static inline void draw_channel(layer *l, int32_t c) {
  const int8_t *weights = l->weights + c * l->elements;
  int64_t sum = 0, positive = 0, negative = 0;
  for (int32_t i = 0; i < l->elements; ++i) {
    sum += weights[i];
    positive += larger(weights[i], 0);
    negative += smaller(weights[i], 0);
  }
  const int64_t reach = 128 * (positive - negative);
  const int64_t least = -128 - l->input_zero, most = 127 - l->input_zero;
  for (;;) {
    int64_t multiplier = 1, fold = 0;
    const int shift = (int)draw(l->end == STOCK ? -31 : 0, l->end == WIDE ? 62 : 31);
    if (l->end == MULTIPLY) multiplier = draw(0, (int64_t)1 << draw(0, 16));
    if (l->end == WIDE) multiplier = draw(0, ((int64_t)1 << draw(0, 31)) - 1);
    if (l->end == STOCK) multiplier = draw(0, 9) != 0 ? draw(1 << 30, INT32_MAX) : 0;
    if (l->end == SHIFT || l->end == MULTIPLY) fold = half(shift) + l->output_zero * ((int64_t)1 << shift);

    const int64_t offset = -l->input_zero * sum + (l->end == SHIFT ? fold : 0);
    int64_t bias = draw_magnitude(31);
    if (draw(0, 7) == 0) bias = (draw(0, 1) ? INT32_MAX - reach : INT32_MIN + reach) - offset; /* as far as it goes */
    const int64_t start = bias + offset;
    if (!fits_int32(bias) || !fits_int32(start - reach) || !fits_int32(start + reach)) continue;

    const int64_t low = (bias + positive * least + negative * most) * multiplier;
    const int64_t high = (bias + positive * most + negative * least) * multiplier;
    if (l->end == MULTIPLY && !(fits_int32(low) && fits_int32(high) && fits_int32(low + fold) &&
                                fits_int32(high + fold) && fits_int32(fold))) {
      continue;
    }
    /* Most of some effect: neither constant nor always saturated. */
    if (l->end != STOCK && draw(0, 3) != 0) {
      const int64_t span = rounded(high / 2, shift) - rounded(low / 2, shift);
      if ((span < 4 || span > 2000) && draw(0, 99) != 0) continue;
    }
    l->bias[c] = (int32_t)bias;
    l->start[c] = (int32_t)start;
    l->multiplier[c] = (int32_t)multiplier;
    l->fold[c] = (int32_t)fold;
    l->shift[c] = (int8_t)shift;
    return;
  }
}

/* neighbours: the most that |w| + |w'| may be of elements 2i and 2i + 1. */
static inline layer draw_layer(end_kind end, int32_t channels, int32_t elements, int32_t neighbours) {
  layer l = {0};
  l.end = end;
  l.channels = channels;
  l.elements = elements;
  l.weights = draw_int8((int64_t)channels * elements);
  for (int32_t c = 0; c < channels; ++c) {
    int8_t *row = l.weights + c * elements;
    if (draw(0, 9) == 0) memset(row, 0, (size_t)elements);
    for (int32_t i = 0; i + 1 < elements; i += 2) {
      if (abs(row[i]) + abs(row[i + 1]) > neighbours) row[i + 1] = (int8_t)(neighbours - abs(row[i]));
    }
  }
  l.input_zero = draw_zero_point();
  l.output_zero = draw_zero_point();
  l.bias = allocate(4 * channels);
  l.start = allocate(4 * channels);
  l.multiplier = allocate(4 * channels);
  l.fold = allocate(4 * channels);
  l.shift = allocate(channels);
  for (int32_t c = 0; c < channels; ++c) draw_channel(&l, c);
  l.rescale.start = l.start;
  l.rescale.shift = l.shift;
  if (end != SHIFT) l.rescale.multiplier = l.multiplier;
  if (end == MULTIPLY) l.rescale.fold = l.fold;
  if (end == WIDE || end == STOCK) l.rescale.zero_point = l.output_zero;
  return l;
}

static inline void free_layer(layer *l) {
  free(l->weights);
  free(l->bias);
  free(l->start);
  free(l->multiplier);
  free(l->fold);
  free(l->shift);
}

/* The output of channel c from its sum of products of centred inputs. */
static inline int8_t layer_output(const layer *l, int32_t c, int64_t products) {
  const int64_t acc = products + l->bias[c];
  const int64_t y = l->end == STOCK ? stock_rescaled(acc, l->multiplier[c], l->shift[c])
                                    : rounded(acc * l->multiplier[c], l->shift[c]);
  return saturated(y + l->output_zero);
}

/* One axis of a window; returns the output's size. */
static inline int32_t draw_axis(int dilated, int32_t *kernel, int32_t *stride, int32_t *dilation, int32_t *pad,
                                int32_t *input) {
  for (;;) {
    *kernel = (int32_t)draw(1, 4);
    *stride = (int32_t)draw(1, 3);
    *dilation = dilated ? (int32_t)draw(1, 3) : 1;
    *input = (int32_t)draw(1, 9);
    const int32_t reach = (*kernel - 1) * *dilation + 1;
    /* Without a border, with one of which every window leaves something inside, or with windows wholly
     * outside, as only kernels of several taps are given. */
    const int64_t kind = draw(0, 6);
    const int64_t most = kind < 2 ? 0 : kind == 6 && dilated ? 2 * (reach - 1) : reach - 1;
    *pad = (int32_t)draw(0, most);
    const int32_t room = *input + *pad + (int32_t)draw(0, most) - reach;
    if (room >= 0) return room / *stride + 1;
  }
}

/* dilated: whether dilations and windows wholly outside the image may be drawn, which pools are not given. */
static inline narrow_window draw_window(int dilated, int32_t input_channels, int32_t output_channels) {
  narrow_window w;
  w.batches = (int32_t)draw(1, 2);
  w.input_channels = input_channels;
  w.output_channels = output_channels;
  w.output_height = draw_axis(dilated, &w.kernel_height, &w.stride_height, &w.dilation_height, &w.pad_top,
                              &w.input_height);
  w.output_width = draw_axis(dilated, &w.kernel_width, &w.stride_width, &w.dilation_width, &w.pad_left,
                             &w.input_width);
  w.padding_value = 0;
  return w;
}

static inline int64_t input_count(const narrow_window *w) {
  return (int64_t)w->batches * w->input_height * w->input_width * w->input_channels;
}

static inline int64_t output_count(const narrow_window *w) {
  return (int64_t)w->batches * w->output_height * w->output_width * w->output_channels;
}

/* The element under tap (ky, kx) of window (y, x), NULL outside the image. */
static inline const int8_t *tap(const narrow_window *w, const int8_t *input, int32_t batch, int32_t y, int32_t x,
                                int32_t ky, int32_t kx, int32_t channel) {
  const int32_t iy = y * w->stride_height + ky * w->dilation_height - w->pad_top;
  const int32_t ix = x * w->stride_width + kx * w->dilation_width - w->pad_left;
  if (iy < 0 || iy >= w->input_height || ix < 0 || ix >= w->input_width) return NULL;
  return input + ((batch * w->input_height + iy) * w->input_width + ix) * w->input_channels + channel;
}

/* Holds the output of a convolution against the definition. depth: inputs under a tap, all for CONV_2D, 1 for a
 * depthwise one; the layer's weights are [output channels, taps, depth]. */
static inline void check_windows(const narrow_window *w, const layer *l, int32_t depth, const int8_t *input,
                                 const int8_t *output) {
  const int32_t multiplier = w->output_channels * depth / w->input_channels; /* output channels of the same inputs */
  int64_t index = 0;
  for (int32_t b = 0; b < w->batches; ++b) {
    for (int32_t y = 0; y < w->output_height; ++y) {
      for (int32_t x = 0; x < w->output_width; ++x) {
        for (int32_t c = 0; c < w->output_channels; ++c, ++index) {
          int64_t sum = 0;
          const int8_t *weights = l->weights + c * l->elements;
          for (int32_t ky = 0; ky < w->kernel_height; ++ky) {
            for (int32_t kx = 0; kx < w->kernel_width; ++kx) {
              for (int32_t i = 0; i < depth; ++i, ++weights) {
                const int8_t *element = tap(w, input, b, y, x, ky, kx, c / multiplier * depth + i);
                if (element != NULL) sum += (int64_t)(*element - l->input_zero) * *weights;
              }
            }
          }
          check_equal(output[index], layer_output(l, c, sum), index);
        }
      }
    }
  }
}

/* Four bytes as a word, lowest first. */
static inline int32_t word(int32_t b0, int32_t b1, int32_t b2, int32_t b3) {
  const uint32_t bits = ((uint32_t)b0 & 255) | ((uint32_t)b1 & 255) << 8 | ((uint32_t)b2 & 255) << 16 |
                        ((uint32_t)b3 & 255) << 24;
  int32_t result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

/* Weight k of channel c, 0 behind the last one. */
static inline int32_t weight(const layer *l, int32_t c, int32_t k) {
  return k < l->elements ? l->weights[c * l->elements + k] : 0;
}

static inline int32_t rounded_to_4(int32_t x) { return (x + 3) / 4 * 4; }

#endif
