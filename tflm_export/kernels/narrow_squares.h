/* SPDX-License-Identifier: Apache-2.0 */
/* Layers for cores without a multiplier: products from a table of 511 squares, 1 KB.
 *
 *     2 x w = (x + w)^2 - x^2 - w^2
 *
 * so that twice the sum of products is the sum of the squares of x + w, less that of the squares of the weights, which is
 * a constant of the channel, less that of the squares of the inputs, which all channels of a pixel share. A product is
 * one look-up then, at the address of the input's own square plus twice the weight. Sums wrap, and come out right where
 * twice the accumulator is an int32.
 *
 * start, for all kernels of this file: twice where the sums start, less the squares of the channel's weights.
 * shift: of NARROW_END_SHIFT one more than that of the accumulator; it includes the halving.
 * weights: -127..127, as -128 - 128 would be the square of 256, beyond 16 bits. */
#ifndef NARROW_SQUARES_H
#define NARROW_SQUARES_H

#include "narrow_window.h"

#define NARROW_SQUARE(n) (uint16_t)((n) * (n))
#define NARROW_SQUARES_4(n) NARROW_SQUARE(n), NARROW_SQUARE((n) + 1), NARROW_SQUARE((n) + 2), NARROW_SQUARE((n) + 3)
#define NARROW_SQUARES_16(n) \
  NARROW_SQUARES_4(n), NARROW_SQUARES_4((n) + 4), NARROW_SQUARES_4((n) + 8), NARROW_SQUARES_4((n) + 12)
#define NARROW_SQUARES_64(n) \
  NARROW_SQUARES_16(n), NARROW_SQUARES_16((n) + 16), NARROW_SQUARES_16((n) + 32), NARROW_SQUARES_16((n) + 48)
#define NARROW_SQUARES_256(n) \
  NARROW_SQUARES_64(n), NARROW_SQUARES_64((n) + 64), NARROW_SQUARES_64((n) + 128), NARROW_SQUARES_64((n) + 192)

/* Of -256..255, the first of which nothing reads; that of 0 is in the middle. */
static const uint16_t narrow_squares[512] = {NARROW_SQUARES_256(-256), NARROW_SQUARES_256(0)};
#define NARROW_SQUARE_OF_0 (narrow_squares + 256)

/* An input as the place of its square, in a word: its address where that is one. */
#if UINTPTR_MAX == 0xffffffffu
typedef const uint16_t *narrow_square_place;
static NARROW_INLINE narrow_square_place narrow_square_place_of(int32_t x) { return NARROW_SQUARE_OF_0 + x; }
static NARROW_INLINE const uint16_t *narrow_square_at(narrow_square_place place) { return place; }
#else
typedef int32_t narrow_square_place;
static NARROW_INLINE narrow_square_place narrow_square_place_of(int32_t x) { return x; }
static NARROW_INLINE const uint16_t *narrow_square_at(narrow_square_place place) { return NARROW_SQUARE_OF_0 + place; }
#endif

/* A layer.
 *
 * weights: for each pair of channels [inputs, 2], inputs up to a multiple of 4 with zeros; of an odd number of channels
 *   the last one is a pair with zeros.
 * inputs: under a window. channels: of the output. */
typedef struct {
  const int8_t *weights;
  const narrow_rescale *rescale;
  int32_t inputs, channels;
  narrow_end end;
} narrow_squares_layer;

/* Windows that are computed together. */
#define NARROW_SQUARES_PIXELS 2

static NARROW_INLINE int8_t narrow_squares_end(const narrow_squares_layer *layer, int32_t c, uint32_t sum) {
  const int32_t twice = (int32_t)sum;
  return narrow_finish(layer->end, layer->rescale, c, layer->end == NARROW_END_SHIFT ? twice : twice >> 1);
}

/* The places of `count` inputs, one in every `pixels` places; returns the sum of their squares, and makes them a multiple
 * of 4 with zeros. */
static NARROW_INLINE uint32_t narrow_squares_places(const int8_t *x, int32_t count, int32_t pixels,
                                                    narrow_square_place *to) {
  uint32_t sum = 0;
  for (const int8_t *const end = x + count; x < end; to += pixels) {
    *to = narrow_square_place_of(*x++);
    sum += *narrow_square_at(*to);
  }
  for (int32_t i = count; (i & 3) != 0; ++i, to += pixels) *to = narrow_square_place_of(0);
  return sum;
}

/* All channels of 1 or 2 windows. places: [inputs, pixels]; squares: of each window's inputs. output: of the second
 * window one layer->channels behind the first one's. */
static NARROW_INLINE void narrow_squares_pixels(const narrow_squares_layer *layer, int32_t pixels,
                                                const narrow_square_place *places, const uint32_t *squares,
                                                int8_t *output) {
  const int8_t *w = layer->weights;
  const int32_t count = ((layer->inputs + 3) & ~3) * pixels;
  for (int32_t c = 0; c < layer->channels; c += 2) {
    const int is_pair = c + 1 < layer->channels;
    const uint32_t a = (uint32_t)layer->rescale->start[c], b = is_pair ? (uint32_t)layer->rescale->start[c + 1] : 0;
    uint32_t a0 = a - squares[0], b0 = b - squares[0];
    uint32_t a1 = pixels == 2 ? a - squares[1] : 0, b1 = pixels == 2 ? b - squares[1] : 0;
    for (const narrow_square_place *at = places, *const end = places + count; at < end; at += 4 * pixels, w += 8) {
#define NARROW_SQUARES_STEP(i)                                             \
  do {                                                                     \
    const int32_t wa = w[2 * i], wb = w[2 * i + 1];                        \
    const uint16_t *const first = narrow_square_at(at[i * pixels]);        \
    a0 += first[wa];                                                       \
    b0 += first[wb];                                                       \
    if (pixels == 2) {                                                     \
      const uint16_t *const second = narrow_square_at(at[i * pixels + 1]); \
      a1 += second[wa];                                                    \
      b1 += second[wb];                                                    \
    }                                                                      \
  } while (0)
      NARROW_SQUARES_STEP(0);
      NARROW_SQUARES_STEP(1);
      NARROW_SQUARES_STEP(2);
      NARROW_SQUARES_STEP(3);
#undef NARROW_SQUARES_STEP
    }
    output[c] = narrow_squares_end(layer, c, a0);
    if (pixels == 2) output[c + layer->channels] = narrow_squares_end(layer, c, a1);
    if (is_pair) {
      output[c + 1] = narrow_squares_end(layer, c + 1, b0);
      if (pixels == 2) output[c + 1 + layer->channels] = narrow_squares_end(layer, c + 1, b1);
    }
  }
}

/* A dense layer, or a convolution of windows of a pixel, in all of `vectors` vectors. scratch: 2 words for each input, up
 * to a multiple of 4. */
static NARROW_WALK void narrow_squares_dense(const narrow_squares_layer *layer, int32_t vectors, const int8_t *input,
                                             int8_t *output, int8_t *scratch) {
  narrow_square_place *const places = (narrow_square_place *)(void *)scratch;
  uint32_t squares[NARROW_SQUARES_PIXELS];
  int32_t left = vectors;
  for (; left >= 2; left -= 2) {
    squares[0] = narrow_squares_places(input, layer->inputs, 2, places);
    squares[1] = narrow_squares_places(input + layer->inputs, layer->inputs, 2, places + 1);
    narrow_squares_pixels(layer, 2, places, squares, output);
    input += 2 * layer->inputs;
    output += 2 * layer->channels;
  }
  if (left != 0) {
    squares[0] = narrow_squares_places(input, layer->inputs, 1, places);
    narrow_squares_pixels(layer, 1, places, squares, output);
  }
}

/* Any convolution. scratch: as for narrow_squares_dense, and behind that `inputs` bytes for a window. */
static NARROW_WALK void narrow_squares_windows(const narrow_window *window, const narrow_squares_layer *layer,
                                               const int8_t *input, int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t image = own.input_height * own.input_width * own.input_channels;
  narrow_square_place *const places = (narrow_square_place *)(void *)scratch;
  int8_t *const patch = (int8_t *)(places + 2 * ((layer->inputs + 3) & ~3));
  uint32_t squares[NARROW_SQUARES_PIXELS];
  for (int32_t batch = 0; batch < own.batches; ++batch, input += image) {
    int32_t held = 0; /* windows whose places are there */
    int32_t left = own.output_height * own.output_width, top = -own.pad_top;
    for (int32_t y = 0; y < own.output_height; ++y, top += own.stride_height) {
      int32_t at = -own.pad_left;
      for (int32_t x = 0; x < own.output_width; ++x, at += own.stride_width, --left) {
        const int32_t pixels = held == 0 && left == 1 ? 1 : 2;
        narrow_gather(&own, input, top, at, patch);
        squares[held] = narrow_squares_places(patch, layer->inputs, pixels, places + held);
        ++held;
        if (held < pixels) continue;
        held = 0;
        if (pixels == 2) {
          narrow_squares_pixels(layer, 2, places, squares, output);
        } else {
          narrow_squares_pixels(layer, 1, places, squares, output);
        }
        output += pixels == 2 ? 2 * layer->channels : layer->channels;
      }
    }
  }
}

/* The sum of a window of one input channel, from its rows, each `row` bytes behind the one before, elements `column` bytes
 * apart. weights: [taps, channels]. */
static NARROW_INLINE uint32_t narrow_squares_taps(const narrow_window *window, const int8_t *x, int32_t row,
                                                  int32_t column, const int8_t *w, uint32_t sum) {
  for (int32_t ky = 0; ky < window->kernel_height; ++ky, x += row) {
    const int8_t *tap = x;
    for (int32_t kx = 0; kx < window->kernel_width; ++kx, tap += column, w += window->output_channels) {
      const uint16_t *const square = NARROW_SQUARE_OF_0 + *tap;
      sum += (uint32_t)square[*w] - *square;
    }
  }
  return sum;
}

/* A depthwise convolution; layer->weights: [taps, channels], as they are. scratch: a byte for each tap of a window. */
static NARROW_WALK void narrow_squares_depthwise(const narrow_window *window, const narrow_squares_layer *layer,
                                                 int32_t multiplier, const int8_t *input, int8_t *output,
                                                 int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t depth = own.input_channels, line = own.input_width * depth;
  for (int32_t batch = 0; batch < own.batches; ++batch, input += own.input_height * line) {
    int32_t top = -own.pad_top;
    const int8_t *from = input - own.pad_top * line;
    for (int32_t y = 0; y < own.output_height; ++y, top += own.stride_height, from += own.stride_height * line) {
      int32_t left = -own.pad_left;
      for (int32_t x = 0; x < own.output_width; ++x, left += own.stride_width) {
        const int8_t *taps = from + left * depth;
        int32_t row = own.dilation_height * line, column = own.dilation_width * depth;
        if (!narrow_inside(&own, top, left)) {
          narrow_gather(&own, input, top, left, scratch);
          taps = scratch;
          row = own.kernel_width * depth;
          column = depth;
        }
        int32_t c = 0;
        for (const int8_t *const last = taps + depth; taps < last; ++taps) {
          for (int32_t i = 0; i < multiplier; ++i, ++c) {
            const uint32_t start = (uint32_t)layer->rescale->start[c];
            const uint32_t sum = narrow_squares_taps(&own, taps, row, column, layer->weights + c, start);
            *output++ = narrow_squares_end(layer, c, sum);
          }
        }
      }
    }
  }
}

#endif
