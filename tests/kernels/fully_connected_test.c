/* Dense layers: the portable kernel, and the plain C of those with weights repacked for a core. */
#include "layer.h"

static narrow_dense *const portable[ENDS] = {narrow_fully_connected_shift, narrow_fully_connected_multiply,
                                             narrow_fully_connected_wide, narrow_fully_connected_stock};
static narrow_dense_dsp *const dsp[ENDS] = {narrow_fully_connected_dsp_shift, narrow_fully_connected_dsp_multiply,
                                            narrow_fully_connected_dsp_wide, narrow_fully_connected_dsp_stock};
static narrow_dense_v6m *const v6m[ENDS] = {narrow_fully_connected_v6m_shift, narrow_fully_connected_v6m_multiply,
                                            narrow_fully_connected_v6m_wide, narrow_fully_connected_v6m_stock};

typedef enum { PORTABLE, DSP, V6M } core;

static void check_output(int32_t rows, const layer *l, const int8_t *input, const int8_t *output) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t c = 0; c < l->channels; ++c) {
      int64_t sum = 0;
      for (int32_t i = 0; i < l->elements; ++i) {
        sum += (int64_t)(input[row * l->elements + i] - l->input_zero) * weight(l, c, i);
      }
      check_equal(output[row * l->channels + c], layer_output(l, c, sum), row * l->channels + c);
    }
  }
}

/* [channels / 4, depth / 4, 2 pairs of channels, 2] words (A k, B k, A k + 2, B k + 2). */
static int32_t *pack_dsp(const layer *l) {
  int32_t *packed = allocate((int64_t)l->channels * l->elements), *next = packed;
  for (int32_t c = 0; c < l->channels; c += 4) {
    for (int32_t i = 0; i < l->elements; i += 4) {
      for (int32_t a = c; a < c + 4; a += 2) {
        for (int32_t k = i; k < i + 2; ++k) {
          *next++ = word(weight(l, a, k), weight(l, a + 1, k), weight(l, a, k + 2), weight(l, a + 1, k + 2));
        }
      }
    }
  }
  return packed;
}

/* [channels / 2, depth4 / 2] words (A k, B k, A k + 1, B k + 1). */
static int32_t *pack_v6m(const layer *l) {
  const int32_t depth4 = rounded_to_4(l->elements);
  int32_t *packed = allocate((int64_t)l->channels * depth4), *next = packed;
  for (int32_t a = 0; a < l->channels; a += 2) {
    for (int32_t k = 0; k < depth4; k += 2) {
      *next++ = word(weight(l, a, k), weight(l, a + 1, k), weight(l, a, k + 1), weight(l, a + 1, k + 1));
    }
  }
  return packed;
}

static void test(const char *name, int64_t number, core which) {
  begin_case(name, number);
  const end_kind end = (end_kind)(number % ENDS);
  const int32_t rows = (int32_t)draw(1, 4);
  const int32_t depth = (int32_t)(which == DSP ? 4 * draw(1, 20) : draw(1, 80));
  const int32_t channels = (int32_t)(which == DSP ? 4 * draw(1, 3) : which == V6M ? 2 * draw(1, 4) : draw(1, 7));
  layer l = draw_layer(end, channels, depth, 256);
  int8_t *input = draw_int8((int64_t)rows * depth);
  const guarded output = allocate_guarded((int64_t)rows * channels);
  const guarded scratch = allocate_guarded(which == V6M ? 4 * rounded_to_4(depth) : 0);
  if (which == PORTABLE) {
    portable[end](rows, depth, channels, &l.rescale, l.weights, input, output.data);
  } else {
    int32_t *words = which == DSP ? pack_dsp(&l) : pack_v6m(&l);
    if (which == DSP) {
      dsp[end](rows, depth, channels, &l.rescale, words, input, output.data);
    } else {
      v6m[end](rows, depth, channels, &l.rescale, words, input, output.data, scratch.data);
    }
    free(words);
  }
  check_output(rows, &l, input, output.data);
  free_guarded(output);
  free_guarded(scratch);
  free(input);
  free_layer(&l);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test("narrow_fully_connected", i, PORTABLE);
    test("narrow_fully_connected_dsp", i, DSP);
    test("narrow_fully_connected_v6m", i, V6M);
  }
  return 0;
}
