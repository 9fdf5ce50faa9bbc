/* PAD and the copies of CONCATENATION. */
#include "check.h"
#include "narrow_kernels.h"

static void test_pad(int64_t number) {
  begin_case("narrow_pad", number);
  int32_t shape[4], before[4], after[4], whole[4];
  int64_t inputs = 1, outputs = 1;
  for (int i = 0; i < 4; ++i) {
    shape[i] = (int32_t)draw(1, 4);
    before[i] = (int32_t)draw(0, 2);
    after[i] = (int32_t)draw(0, 2);
    whole[i] = before[i] + shape[i] + after[i];
    inputs *= shape[i];
    outputs *= whole[i];
  }
  const int8_t value = (int8_t)draw_zero_point();
  int8_t *input = draw_int8(inputs);
  const guarded output = allocate_guarded(outputs);
  narrow_pad(shape, before, after, value, input, output.data);
  for (int64_t i = 0; i < outputs; ++i) {
    int64_t rest = i, from = 0, step = 1;
    int inside = 1;
    for (int axis = 3; axis >= 0; --axis) {
      const int64_t at = rest % whole[axis] - before[axis];
      rest /= whole[axis];
      inside = inside && at >= 0 && at < shape[axis];
      from += at * step;
      step *= shape[axis];
    }
    check_equal(output.data[i], inside ? input[from] : value, i);
  }
  free_guarded(output);
  free(input);
}

static void test_copy_rows(int64_t number) {
  begin_case("narrow_copy_rows", number);
  const int32_t rows = (int32_t)draw(1, 6), bytes = (int32_t)draw(1, 9), stride = bytes + (int32_t)draw(0, 5);
  int8_t *input = draw_int8((int64_t)rows * bytes);
  /* The last row ends with its bytes: what stands between the rows is not the kernel's. */
  const guarded output = allocate_guarded((int64_t)(rows - 1) * stride + bytes);
  narrow_copy_rows(rows, bytes, stride, input, output.data);
  for (int64_t i = 0; i < output.bytes; ++i) {
    const int64_t row = i / stride, at = i % stride;
    check_equal(output.data[i], at < bytes ? input[row * bytes + at] : CANARY, i);
  }
  free_guarded(output);
  free(input);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test_pad(i);
    test_copy_rows(i);
  }
  return 0;
}
