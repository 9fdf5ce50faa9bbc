/* Pools, MEAN and SOFTMAX. */
#include <math.h>

#include "layer.h"

static void test_pools(int64_t number) {
  begin_case("narrow_average_pool_2d, narrow_max_pool_2d", number);
  const int32_t channels = (int32_t)draw(1, 5);
  const narrow_window w = draw_window(0, channels, channels);
  int8_t *input = draw_int8(input_count(&w));
  const guarded average = allocate_guarded(output_count(&w)), largest = allocate_guarded(output_count(&w));
  narrow_average_pool_2d(&w, input, average.data);
  narrow_max_pool_2d(&w, input, largest.data);
  int64_t index = 0;
  for (int32_t b = 0; b < w.batches; ++b) {
    for (int32_t y = 0; y < w.output_height; ++y) {
      for (int32_t x = 0; x < w.output_width; ++x) {
        for (int32_t c = 0; c < channels; ++c, ++index) {
          int64_t sum = 0, count = 0, most = INT64_MIN;
          for (int32_t ky = 0; ky < w.kernel_height; ++ky) {
            for (int32_t kx = 0; kx < w.kernel_width; ++kx) {
              const int8_t *element = tap(&w, input, b, y, x, ky, kx, c);
              if (element == NULL) continue;
              sum += *element;
              most = larger(most, *element);
              ++count;
            }
          }
          check_equal(average.data[index], rounded_away(sum, count), index);
          check_equal(largest.data[index], most, index);
        }
      }
    }
  }
  free_guarded(average);
  free_guarded(largest);
  free(input);
}

static void test_mean(int64_t number) {
  static const char *const names[] = {"narrow_mean", "narrow_mean_wide", "narrow_mean_stock"};
  const int64_t kind = number % 3;
  begin_case(names[kind], number);
  const int32_t outer = (int32_t)draw(1, 3), count = (int32_t)draw(1, draw(0, 3) ? 30 : 400);
  const int32_t inner = (int32_t)draw(1, 6);
  const int32_t zero_x = draw_zero_point(), zero_y = draw_zero_point();
  int8_t *input = draw_int8((int64_t)outer * count * inner);
  const guarded output = allocate_guarded((int64_t)outer * inner);
  int32_t multiplier = 0;
  int8_t shift = 0;
  int64_t factor = 0, divisor = 0, start = 0;
  for (;;) {
    shift = (int8_t)draw(0, kind == 0 ? 14 : kind == 1 ? 38 : 31);
    multiplier = (int32_t)draw(0, (int64_t)1 << draw(0, kind == 0 ? 12 : 30));
    if (kind == 2) multiplier = (int32_t)draw(1 << 30, INT32_MAX);
    factor = 2 * (int64_t)multiplier;
    divisor = 2 * (int64_t)count * ((int64_t)1 << shift);
    start = divisor * (zero_y + 128) + divisor / 2 - (int64_t)zero_x * count * factor;
    const int64_t reach = 128 * (int64_t)count * factor;
    if (kind != 0 || (fits_int32(divisor) && fits_int32(start - reach) && fits_int32(start + reach))) break;
  }
  if (kind == 0) {
    narrow_mean(outer, count, inner, (int32_t)factor, (int32_t)start, (int32_t)divisor, input, output.data);
  } else if (kind == 1) {
    narrow_mean_wide(outer, count, inner, factor, start, divisor, input, output.data);
  } else {
    const narrow_rescale rescale = {NULL, &multiplier, NULL, &shift, zero_y};
    narrow_mean_stock(outer, count, inner, zero_x, &rescale, input, output.data);
  }
  for (int32_t i = 0; i < outer; ++i) {
    for (int32_t c = 0; c < inner; ++c) {
      int64_t sum = 0;
      for (int32_t j = 0; j < count; ++j) sum += input[(i * count + j) * inner + c] - zero_x;
      /* sum * multiplier / (count * 2^shift), rounded once, halves up. */
      const int64_t whole = count * ((int64_t)1 << shift);
      const int64_t y = kind == 2 ? stock_rescaled(sum, multiplier, shift)
                                  : floor_divide(2 * sum * multiplier + whole, 2 * whole);
      check_equal(output.data[i * inner + c], saturated(y + zero_y), i * inner + c);
    }
  }
  free_guarded(output);
  free(input);
}

/* Against exact shares in double precision; that every bit is TFLM's is held in test_reductions.py. What the fixed-point arithmetic may lose: the sum keeps 2^-19 of each
 * exponential, so it is off by 2^-20 times the depth; the reciprocal and the product are good to 2^-28. */
static void test_softmax(int64_t number) {
  begin_case("narrow_softmax", number);
  const int32_t rows = (int32_t)draw(1, 3), length = (int32_t)draw(1, 256);
  const int32_t depth = (int32_t)draw(1, draw(0, 63) ? 40 : 4095);
  int32_t *exponentials = allocate(4 * length);
  const double decay = (double)draw(1, 1000) / 1000 * (double)draw(1, 3);
  for (int32_t d = 0; d < length; ++d) exponentials[d] = (int32_t)fmin(INT32_MAX, round(exp(-decay * d) * 0x1p31));
  int8_t *input = draw_int8((int64_t)rows * depth);
  const guarded output = allocate_guarded((int64_t)rows * depth);
  narrow_softmax(rows, depth, length, exponentials, input, output.data);
  for (int32_t row = 0; row < rows; ++row) {
    const int8_t *x = input + row * depth;
    int32_t most = -128;
    double sum = 0;
    for (int32_t i = 0; i < depth; ++i) most = x[i] > most ? x[i] : most;
    for (int32_t i = 0; i < depth; ++i) sum += most - x[i] < length ? exponentials[most - x[i]] * 0x1p-31 : 0;
    for (int32_t i = 0; i < depth; ++i) {
      const double exact = 256 * (most - x[i] < length ? exponentials[most - x[i]] * 0x1p-31 : 0) / sum - 128;
      const double off = fabs(output.data[row * depth + i] - fmin(exact, 127));
      const double allowed = 0.5 + 256 * (depth * 0x1p-20 / sum + 0x1p-28);
      if (off > allowed) check_equal(output.data[row * depth + i], (int64_t)floor(exact + 0.5), row * depth + i);
    }
  }
  free_guarded(output);
  free(input);
  free(exponentials);
}

int main(void) {
  for (int64_t i = 0; i < 6000; ++i) {
    test_pools(i);
    test_mean(i);
    test_softmax(i);
  }
  return 0;
}
