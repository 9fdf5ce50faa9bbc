/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_dsp.h"
#include "narrow_in_place.h"

static NARROW_INLINE int32_t dot(int32_t depth, const int8_t *weights, const int8_t *input, int32_t acc) {
  for (int32_t i = 0; i < depth; ++i) acc += input[i] * weights[i];
  return acc;
}

static NARROW_INLINE void fully_connected_in_place(int32_t rows, int32_t depth, int32_t channels,
                                                   const narrow_rescale *rescale, const int8_t *weights,
                                                   const int8_t *input, int8_t *output, narrow_end end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  rescale = &own_rescale;
  const int32_t whole = depth & ~3;
  for (int32_t row = 0; row < rows; ++row, input += depth) {
    const int8_t *w = weights;
    int32_t c = 0;
    /* Four channels share each word of inputs. */
    for (; c + 4 <= channels; c += 4) {
      const int8_t *x = input;
      const int32_t *start = rescale->start + c;
      int32_t acc0 = start[0], acc1 = start[1], acc2 = start[2], acc3 = start[3];
      for (const int8_t *const last = x + whole; x < last; x += 4, w += 4) {
        const int32_t inputs = narrow_word(x), even = narrow_even(inputs), odd = narrow_odd(inputs);
        int32_t word = narrow_word(w);
        acc0 = narrow_mac2(odd, narrow_odd(word), narrow_mac2(even, narrow_even(word), acc0));
        word = narrow_word(w + depth);
        acc1 = narrow_mac2(odd, narrow_odd(word), narrow_mac2(even, narrow_even(word), acc1));
        word = narrow_word(w + 2 * depth);
        acc2 = narrow_mac2(odd, narrow_odd(word), narrow_mac2(even, narrow_even(word), acc2));
        word = narrow_word(w + 3 * depth);
        acc3 = narrow_mac2(odd, narrow_odd(word), narrow_mac2(even, narrow_even(word), acc3));
      }
      const int32_t rest = depth - whole;
      *output++ = narrow_finish(end, rescale, c, dot(rest, w, x, acc0));
      *output++ = narrow_finish(end, rescale, c + 1, dot(rest, w + depth, x, acc1));
      *output++ = narrow_finish(end, rescale, c + 2, dot(rest, w + 2 * depth, x, acc2));
      *output++ = narrow_finish(end, rescale, c + 3, dot(rest, w + 3 * depth, x, acc3));
      w += rest + 3 * depth;
    }
    for (; c < channels; ++c, w += depth) {
      *output++ = narrow_finish(end, rescale, c, dot(depth, w, input, rescale->start[c]));
    }
  }
}

NARROW_DEFINE_ENDS(narrow_fully_connected_in_place,
                   (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                    const int8_t *weights, const int8_t *input, int8_t *output),
                   fully_connected_in_place(rows, depth, channels, rescale, weights, input, output, end))
