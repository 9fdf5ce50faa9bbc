/* Convolutions with weights repacked for a core: the plain C of their kernels. */
#include "layer.h"

typedef void packed_function(const narrow_window *, const narrow_rescale *, const int32_t *, const int8_t *, int8_t *,
                             int8_t *);

static packed_function *const dsp[ENDS] = {narrow_conv_2d_dsp_shift, narrow_conv_2d_dsp_multiply,
                                           narrow_conv_2d_dsp_wide, narrow_conv_2d_dsp_stock};
static packed_function *const v6m[ENDS] = {narrow_conv_2d_v6m_shift, narrow_conv_2d_v6m_multiply,
                                           narrow_conv_2d_v6m_wide, narrow_conv_2d_v6m_stock};

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

static void test(const char *name, int64_t number, packed_function *const *ends, int is_dsp) {
  begin_case(name, number);
  const end_kind end = (end_kind)(number % ENDS);
  const int32_t outputs = (int32_t)(2 * draw(1, 3));
  narrow_window w = draw_window(1, (int32_t)draw(1, 9), outputs);
  const int32_t elements = w.kernel_height * w.kernel_width * w.input_channels;
  layer l = draw_layer(end, outputs, elements, is_dsp ? 256 : 255);
  w.padding_value = (int8_t)l.input_zero;
  int8_t *input = draw_int8(input_count(&w));
  const guarded output = allocate_guarded(output_count(&w));
  const guarded scratch = allocate_guarded((is_dsp ? 9 : 5) * rounded_to_4(elements));
  int32_t *words = pack(&l, is_dsp);
  ends[end](&w, &l.rescale, words, input, output.data, scratch.data);
  free(words);
  check_conv_2d(&w, &l, input, output.data);
  free_guarded(output);
  free_guarded(scratch);
  free(input);
  free_layer(&l);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test("narrow_conv_2d_dsp", i, dsp, 1);
    test("narrow_conv_2d_v6m", i, v6m, 0);
  }
  return 0;
}
