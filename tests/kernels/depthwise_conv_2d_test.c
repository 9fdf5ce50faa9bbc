/* Depthwise convolutions: the portable kernel, and the plain C of the one for cores with the DSP extension. */
#include "layer.h"

static narrow_windowed *const portable[ENDS] = {narrow_depthwise_conv_2d_shift, narrow_depthwise_conv_2d_multiply,
                                                narrow_depthwise_conv_2d_wide, narrow_depthwise_conv_2d_stock};
static narrow_windowed_dsp *const dsp[ENDS] = {narrow_depthwise_conv_2d_dsp_shift,
                                               narrow_depthwise_conv_2d_dsp_multiply,
                                               narrow_depthwise_conv_2d_dsp_wide, narrow_depthwise_conv_2d_dsp_stock};

/* [taps, channels]. */
static int8_t *transposed(const layer *l) {
  int8_t *result = allocate((int64_t)l->channels * l->elements), *next = result;
  for (int32_t k = 0; k < l->elements; ++k) {
    for (int32_t c = 0; c < l->channels; ++c) *next++ = (int8_t)weight(l, c, k);
  }
  return result;
}

/* [channels / 4, taps, 2] words: int16 pairs of channels (0, 2), (1, 3) of the four. */
static int32_t *pairs(const layer *l) {
  int32_t *result = allocate((int64_t)2 * l->channels * l->elements), *next = result;
  for (int32_t c = 0; c < l->channels; c += 4) {
    for (int32_t k = 0; k < l->elements; ++k) {
      for (int32_t odd = 0; odd < 2; ++odd) {
        const int32_t low = weight(l, c + odd, k), high = weight(l, c + odd + 2, k);
        *next++ = word(low, low < 0 ? -1 : 0, high, high < 0 ? -1 : 0);
      }
    }
  }
  return result;
}

static void test(const char *name, int64_t number, int is_dsp) {
  begin_case(name, number);
  const end_kind end = (end_kind)(number % ENDS);
  const int32_t inputs = (int32_t)(is_dsp ? 4 * draw(1, 3) : draw(1, 6));
  const int32_t outputs = inputs * (int32_t)(is_dsp || draw(0, 1) ? 1 : draw(2, 3));
  narrow_window w = draw_window(1, inputs, outputs);
  if (draw(0, 2) == 0) { /* the usual kernel, which has loops of its own */
    w.kernel_height = w.kernel_width = 3;
    w.dilation_height = w.dilation_width = 1;
  }
  layer l = draw_layer(end, outputs, w.kernel_height * w.kernel_width, 256);
  w.padding_value = (int8_t)l.input_zero;
  int8_t *input = draw_int8(input_count(&w));
  const guarded output = allocate_guarded(output_count(&w));
  const guarded scratch = allocate_guarded((int64_t)l.elements * inputs);
  if (is_dsp) {
    int32_t *words = pairs(&l);
    dsp[end](&w, &l.rescale, words, input, output.data, scratch.data);
    free(words);
  } else {
    int8_t *weights = transposed(&l);
    portable[end](&w, &l.rescale, weights, input, output.data, scratch.data);
    free(weights);
  }
  check_windows(&w, &l, 1, input, output.data);
  free_guarded(output);
  free_guarded(scratch);
  free(input);
  free_layer(&l);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test("narrow_depthwise_conv_2d", i, 0);
    test("narrow_depthwise_conv_2d_dsp", i, 1);
  }
  return 0;
}
