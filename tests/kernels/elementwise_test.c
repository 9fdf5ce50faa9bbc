/* ADD, MUL, QUANTIZE, tables and clamps. */
#include "check.h"
#include "narrow_kernels.h"

#define MOST 200 /* elements */

/* Two operands, the second of which is used again for each repeat. */
typedef struct {
  int32_t repeats, count;
  int8_t *a, *b;
  int32_t zeros[3]; /* of a, b and the output */
  guarded output;
} operands;

static operands draw_operands(void) {
  operands o;
  o.repeats = (int32_t)draw(1, 3);
  o.count = (int32_t)draw(1, MOST);
  o.a = draw_int8((int64_t)o.repeats * o.count);
  o.b = draw_int8(o.count);
  for (int i = 0; i < 3; ++i) o.zeros[i] = draw_zero_point();
  o.output = allocate_guarded((int64_t)o.repeats * o.count);
  return o;
}

static void free_operands(operands *o) {
  free(o->a);
  free(o->b);
  free_guarded(o->output);
}

static int64_t centred_a(const operands *o, int64_t i) { return o->a[i] - o->zeros[0]; }
static int64_t centred_b(const operands *o, int64_t i) { return o->b[i % o->count] - o->zeros[1]; }

static void check_sum(const operands *o, int64_t factor_a, int64_t factor_b, int shift) {
  for (int64_t i = 0; i < o->output.bytes; ++i) {
    const int64_t sum = centred_a(o, i) * factor_a + centred_b(o, i) * factor_b;
    check_equal(o->output.data[i], saturated(rounded(sum, shift) + o->zeros[2]), i);
  }
}

static int64_t add_start(const operands *o, int64_t factor_a, int64_t factor_b, int shift) {
  return half(shift) + o->zeros[2] * ((int64_t)1 << shift) - o->zeros[0] * factor_a - o->zeros[1] * factor_b;
}

static void test_add(int64_t number) {
  begin_case("narrow_add", number);
  operands o = draw_operands();
  for (;;) {
    const int shift = (int)draw(0, 31);
    const int64_t fa = draw_magnitude(24), fb = draw_magnitude(24), start = add_start(&o, fa, fb, shift);
    const int64_t reach = 128 * ((fa < 0 ? -fa : fa) + (fb < 0 ? -fb : fb));
    if (!fits_int32(start - reach) || !fits_int32(start + reach)) continue;
    narrow_add(o.repeats, o.count, (int32_t)fa, (int32_t)fb, (int32_t)start, shift, o.a, o.b, o.output.data);
    check_sum(&o, fa, fb, shift);
    break;
  }
  free_operands(&o);
}

static void test_add_wide(int64_t number) {
  begin_case("narrow_add_wide", number);
  operands o = draw_operands();
  int shift = (int)draw(0, 62);
  while (abs(o.zeros[2]) > (int64_t)1 << 61 >> shift) shift = (int)draw(0, 62); /* else Zy * 2^shift leaves 64 bits */
  const int64_t fa = draw_magnitude(52), fb = draw_magnitude(52);
  narrow_add_wide(o.repeats, o.count, fa, fb, add_start(&o, fa, fb, shift), shift, o.a, o.b, o.output.data);
  check_sum(&o, fa, fb, shift);
  free_operands(&o);
}

static void test_add_stock(int64_t number) {
  begin_case("narrow_add_stock", number);
  operands o = draw_operands();
  int32_t multipliers[3];
  int8_t shifts[3];
  for (int i = 0; i < 3; ++i) multipliers[i] = (int32_t)draw(1 << 30, INT32_MAX);
  for (int i = 0; i < 2; ++i) shifts[i] = (int8_t)draw(1, draw(0, 1) ? 4 : 31);
  /* TFLM's own: the larger scale over twice itself. */
  const int64_t larger_one = draw(0, 1);
  multipliers[larger_one] = 1 << 30;
  shifts[larger_one] = 0;
  shifts[2] = (int8_t)draw(-2, 31);
  narrow_add_stock(o.repeats, o.count, multipliers, shifts, o.zeros, o.a, o.b, o.output.data);
  for (int64_t i = 0; i < o.output.bytes; ++i) {
    const int64_t sum = stock_rescaled(centred_a(&o, i) * (1 << 20), multipliers[0], shifts[0]) +
                        stock_rescaled(centred_b(&o, i) * (1 << 20), multipliers[1], shifts[1]);
    check_equal(o.output.data[i], saturated(stock_rescaled(sum, multipliers[2], shifts[2]) + o.zeros[2]), i);
  }
  free_operands(&o);
}

static void test_mul(int64_t number) {
  static const char *const names[] = {"narrow_mul_shift", "narrow_mul_multiply", "narrow_mul_wide", "narrow_mul_stock"};
  const int64_t end = number % 4;
  begin_case(names[end], number);
  operands o = draw_operands();
  const int64_t most = 255 * 255; /* of a product's magnitude */
  int32_t multiplier = 1, fold32 = 0, start = 0;
  int8_t shift;
  for (;;) {
    shift = (int8_t)(end == 2 ? draw(0, 62) : end == 3 ? draw(-14, 31) : draw(0, draw(0, 1) ? 12 : 31));
    if (end == 1) multiplier = (int32_t)draw(0, INT32_MAX / most);
    if (end == 2) multiplier = (int32_t)draw(0, INT32_MAX);
    if (end == 3) multiplier = (int32_t)draw(1 << 30, INT32_MAX);
    if (end >= 2) break;
    const int64_t fold = half(shift) + o.zeros[2] * ((int64_t)1 << shift);
    if (!fits_int32(fold - most * multiplier) || !fits_int32(fold + most * multiplier)) continue;
    fold32 = end == 1 ? (int32_t)fold : 0;
    start = end == 0 ? (int32_t)fold : 0;
    break;
  }
  const narrow_rescale rescale = {&start, &multiplier, &fold32, &shift, o.zeros[2]};
  if (end == 0) narrow_mul_shift(o.repeats, o.count, o.zeros, &rescale, o.a, o.b, o.output.data);
  if (end == 1) narrow_mul_multiply(o.repeats, o.count, o.zeros, &rescale, o.a, o.b, o.output.data);
  if (end == 2) narrow_mul_wide(o.repeats, o.count, o.zeros, &rescale, o.a, o.b, o.output.data);
  if (end == 3) narrow_mul_stock(o.repeats, o.count, o.zeros, &rescale, o.a, o.b, o.output.data);
  for (int64_t i = 0; i < o.output.bytes; ++i) {
    const int64_t product = centred_a(&o, i) * centred_b(&o, i);
    const int64_t y = end == 3 ? stock_rescaled(product, multiplier, shift) : rounded(product * multiplier, shift);
    check_equal(o.output.data[i], saturated(y + o.zeros[2]), i);
  }
  free_operands(&o);
}

/* All int8 there are, once into an output and once in place. */
static void all_int8(int8_t x[256]) {
  for (int i = 0; i < 256; ++i) x[i] = (int8_t)(i - 128);
}

static void test_quantize(int64_t number) {
  begin_case("narrow_quantize", number);
  int8_t x[256], y[256];
  all_int8(x);
  all_int8(y);
  const int32_t zero_x = draw_zero_point(), zero_y = draw_zero_point();
  for (;;) {
    const int shift = (int)draw(0, 31);
    const int64_t factor = draw(0, (int64_t)1 << draw(0, 24));
    const int64_t start = half(shift) + zero_y * ((int64_t)1 << shift) - zero_x * factor;
    if (!fits_int32(start - 128 * factor) || !fits_int32(start + 128 * factor)) continue;
    const guarded output = allocate_guarded(256);
    narrow_quantize(256, (int32_t)factor, (int32_t)start, shift, x, output.data);
    narrow_quantize(256, (int32_t)factor, (int32_t)start, shift, y, y);
    for (int i = 0; i < 256; ++i) {
      check_equal(output.data[i], saturated(rounded((x[i] - zero_x) * factor, shift) + zero_y), i);
    }
    check_arrays(y, output.data, 256);
    free_guarded(output);
    return;
  }
}

static void test_lookup(int64_t number) {
  begin_case("narrow_lookup", number);
  const int32_t count = (int32_t)draw(1, MOST);
  int8_t *table = allocate(256), *input = draw_int8(count);
  for (int i = 0; i < 256; ++i) table[i] = (int8_t)draw(-128, 127);
  const guarded output = allocate_guarded(count);
  narrow_lookup(count, table, input, output.data);
  for (int32_t i = 0; i < count; ++i) check_equal(output.data[i], table[128 + (int)input[i]], i);
  narrow_lookup(count, table, input, input);
  check_arrays(input, output.data, count);
  free_guarded(output);
  free(input);
  free(table);
}

static void test_clamp(int64_t number) {
  begin_case("narrow_clamp", number);
  int8_t x[256], y[256];
  all_int8(x);
  all_int8(y);
  const int8_t high = (int8_t)draw_zero_point(), low = (int8_t)draw(-128, high);
  const guarded output = allocate_guarded(256);
  narrow_clamp(256, low, high, x, output.data);
  narrow_clamp(256, low, high, y, y);
  for (int i = 0; i < 256; ++i) check_equal(output.data[i], larger(low, smaller(high, x[i])), i);
  check_arrays(y, output.data, 256);
  free_guarded(output);
}

int main(void) {
  for (int64_t i = 0; i < 4000; ++i) {
    test_add(i);
    test_add_wide(i);
    test_add_stock(i);
    test_mul(i);
    test_quantize(i);
    test_lookup(i);
    test_clamp(i);
  }
  return 0;
}
