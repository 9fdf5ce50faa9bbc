/* Convolutions: the portable kernel, and the plain C of those with weights repacked for a core. */
#include "layer.h"

typedef void function(const narrow_window *, const narrow_rescale *, const int8_t *, const int8_t *, int8_t *,
                      int8_t *);
typedef void packed_function(const narrow_window *, const narrow_rescale *, const int32_t *, const int8_t *, int8_t *,
                             int8_t *);

static function *const portable[ENDS] = {narrow_conv_2d_shift, narrow_conv_2d_multiply, narrow_conv_2d_wide,
                                         narrow_conv_2d_stock};
static packed_function *const dsp[ENDS] = {narrow_conv_2d_dsp_shift, narrow_conv_2d_dsp_multiply,
                                           narrow_conv_2d_dsp_wide, narrow_conv_2d_dsp_stock};
static packed_function *const v6m[ENDS] = {narrow_conv_2d_v6m_shift, narrow_conv_2d_v6m_multiply,
                                           narrow_conv_2d_v6m_wide, narrow_conv_2d_v6m_stock};

/* Holds an output against the definition. */
static void check_output(const narrow_window *w, const layer *l, const int8_t *input, const int8_t *output) {
  int64_t index = 0;
  for (int32_t b = 0; b < w->batches; ++b) {
    for (int32_t y = 0; y < w->output_height; ++y) {
      for (int32_t x = 0; x < w->output_width; ++x) {
        for (int32_t c = 0; c < w->output_channels; ++c, ++index) {
          int64_t sum = 0;
          const int8_t *weights = l->weights + c * l->elements;
          for (int32_t ky = 0; ky < w->kernel_height; ++ky) {
            for (int32_t kx = 0; kx < w->kernel_width; ++kx) {
              for (int32_t i = 0; i < w->input_channels; ++i, ++weights) {
                const int8_t *element = tap(w, input, b, y, x, ky, kx, i);
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

/* Words of two channels and the elements k, k' of each: as narrow_conv_2d_dsp_* or as narrow_conv_2d_v6m_* has them. */
static int32_t *pack(const layer *l, int is_dsp) {
  const int32_t depth4 = rounded_to_4(l->elements);
  int32_t *packed = allocate((int64_t)2 * l->channels * depth4 / 2), *next = packed;
  for (int32_t a = 0; a < l->channels; a += 2) {
    for (int32_t i = 0; i < depth4; i += 4) {
      for (int32_t j = 0; j < 2; ++j) {
        const int32_t k = i + (is_dsp ? j : 2 * j), other = k + (is_dsp ? 2 : 1);
        *next++ = word(weight(l, a, k), weight(l, a + 1, k), weight(l, a, other), weight(l, a + 1, other));
      }
    }
  }
  return packed;
}

static void test(const char *name, int64_t number, function *const *plain, packed_function *const *packed, int is_dsp,
                 int32_t scratch_factor) {
  begin_case(name, number);
  const end_kind end = (end_kind)(number % ENDS);
  const int32_t outputs = (int32_t)(plain != NULL ? draw(1, 5) : 2 * draw(1, 3));
  narrow_window w = draw_window(1, (int32_t)draw(1, 9), outputs);
  const int32_t elements = w.kernel_height * w.kernel_width * w.input_channels;
  layer l = draw_layer(end, outputs, elements, packed != NULL && !is_dsp ? 255 : 256);
  w.padding_value = (int8_t)l.input_zero;
  int8_t *input = draw_int8(input_count(&w));
  const guarded output = allocate_guarded(output_count(&w));
  const guarded scratch = allocate_guarded(plain != NULL ? elements : scratch_factor * rounded_to_4(elements));
  if (plain != NULL) {
    plain[end](&w, &l.rescale, l.weights, input, output.data, scratch.data);
  } else {
    int32_t *words = pack(&l, is_dsp);
    packed[end](&w, &l.rescale, words, input, output.data, scratch.data);
    free(words);
  }
  check_output(&w, &l, input, output.data);
  free_guarded(output);
  free_guarded(scratch);
  free(input);
  free_layer(&l);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test("narrow_conv_2d", i, portable, NULL, 0, 0);
    test("narrow_conv_2d_dsp", i, NULL, dsp, 1, 9);
    test("narrow_conv_2d_v6m", i, NULL, v6m, 0, 5);
  }
  return 0;
}
