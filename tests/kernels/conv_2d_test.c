/* Convolutions: the portable kernel. */
#include "layer.h"

static narrow_windowed *const ends[ENDS] = {narrow_conv_2d_shift, narrow_conv_2d_multiply, narrow_conv_2d_wide,
                                            narrow_conv_2d_stock};

static void test(const char *name, int64_t number) {
  begin_case(name, number);
  const end_kind end = (end_kind)(number % ENDS);
  const int32_t outputs = (int32_t)(draw(1, 5));
  narrow_window w = draw_window(1, (int32_t)draw(1, 9), outputs);
  const int32_t elements = w.kernel_height * w.kernel_width * w.input_channels;
  layer l = draw_layer(end, outputs, elements, 256);
  w.padding_value = (int8_t)l.input_zero;
  int8_t *input = draw_int8(input_count(&w));
  const guarded output = allocate_guarded(output_count(&w));
  const guarded scratch = allocate_guarded(elements);
  ends[end](&w, &l.rescale, l.weights, input, output.data, scratch.data);
  check_windows(&w, &l, w.input_channels, input, output.data);
  free_guarded(output);
  free_guarded(scratch);
  free(input);
  free_layer(&l);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test("narrow_conv_2d", i);
  }
  return 0;
}
