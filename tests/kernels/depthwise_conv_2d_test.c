/* Depthwise convolutions: the portable kernel, and the plain C of the one for cores with the DSP extension. */
#include "layer.h"

typedef void function(const narrow_window *, const narrow_rescale *, const int8_t *, const int8_t *, int8_t *,
                      int8_t *);
typedef void packed_function(const narrow_window *, const narrow_rescale *, const int32_t *, const int8_t *, int8_t *,
                             int8_t *);

static function *const portable[ENDS] = {narrow_depthwise_conv_2d_shift, narrow_depthwise_conv_2d_multiply,
                                         narrow_depthwise_conv_2d_wide, narrow_depthwise_conv_2d_stock};
static packed_function *const dsp[ENDS] = {narrow_depthwise_conv_2d_dsp_shift, narrow_depthwise_conv_2d_dsp_multiply,
                                           narrow_depthwise_conv_2d_dsp_wide, narrow_depthwise_conv_2d_dsp_stock};

/* Holds an output against the definition; the layer's weights are [channels, taps]. */
static void check_output(const narrow_window *w, const layer *l, const int8_t *input, const int8_t *output) {
  const int32_t multiplier = w->output_channels / w->input_channels;
  int64_t index = 0;
  for (int32_t b = 0; b < w->batches; ++b) {
    for (int32_t y = 0; y < w->output_height; ++y) {
      for (int32_t x = 0; x < w->output_width; ++x) {
        for (int32_t c = 0; c < w->output_channels; ++c, ++index) {
          int64_t sum = 0;
          const int8_t *weights = l->weights + c * l->elements;
          for (int32_t ky = 0; ky < w->kernel_height; ++ky) {
            for (int32_t kx = 0; kx < w->kernel_width; ++kx, ++weights) {
              const int8_t *element = tap(w, input, b, y, x, ky, kx, c / multiplier);
              if (element != NULL) sum += (int64_t)(*element - l->input_zero) * *weights;
            }
          }
          check_equal(output[index], layer_output(l, c, sum), index);
        }
      }
    }
  }
}

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
  check_output(&w, &l, input, output.data);
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
