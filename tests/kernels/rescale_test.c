/* The ends, one accumulator at a time: every shift there is, with accumulators, multipliers and zero points at
 * their extremes and around every tie. */
#include "narrow_rescale.h"

#include "check.h"

static const int32_t zero_points[] = {-128, -127, -1, 0, 1, 127};
#define ZERO_POINTS ((int)(sizeof zero_points / sizeof zero_points[0]))

/* Of accumulators: the extremes, random ones, and those around ties of a shift. */
static int32_t draw_accumulator(int shift) {
  const int32_t extremes[] = {INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX};
  switch (draw(0, 2)) {
    case 0: return extremes[draw(0, 6)];
    case 1: return (int32_t)draw_magnitude(31);
    default: break;
  }
  const int64_t ties = larger(-300, -((int64_t)1 << (31 - (shift > 31 ? 31 : shift))));
  const int64_t near = draw(ties, -ties) * ((int64_t)1 << (shift > 31 ? 31 : shift)) + half(shift > 31 ? 31 : shift);
  return (int32_t)larger(INT32_MIN, smaller(INT32_MAX, near + draw(-1, 1)));
}

static void test_saturate(void) {
  begin_case("narrow_saturate", 0);
  const int32_t values[] = {INT32_MIN, INT32_MIN + 127, INT32_MIN + 128, -65536, INT32_MAX - 128, INT32_MAX};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    check_equal(narrow_saturate(values[i]), saturated(values[i]), values[i]);
  }
  for (int32_t x = -1000; x <= 1000; ++x) check_equal(narrow_saturate(x), saturated(x), x);
}

/* The accumulator of _shift holds rounding and zero point already. */
static void test_shift(int8_t shift, int32_t acc) {
  const narrow_rescale rescale = {NULL, NULL, NULL, &shift, 0};
  check_equal(narrow_end_shift(&rescale, 0, acc), saturated(floor_divide(acc, (int64_t)1 << shift)), acc);
  for (int i = 0; i < ZERO_POINTS; ++i) {
    const int64_t folded = acc + half(shift) + zero_points[i] * ((int64_t)1 << shift);
    if (!fits_int32(folded)) continue;
    check_equal(narrow_end_shift(&rescale, 0, (int32_t)folded), saturated(rounded(acc, shift) + zero_points[i]), acc);
  }
}

static void test_multiply(int8_t shift, int32_t acc) {
  const int64_t most = INT32_MAX / larger(1, acc == INT32_MIN ? INT32_MAX : abs(acc));
  const int32_t multipliers[] = {0, 1, (int32_t)draw(0, most), (int32_t)most};
  for (int i = 0; i < ZERO_POINTS; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t product = (int64_t)acc * multipliers[j];
      const int64_t fold = half(shift) + zero_points[i] * ((int64_t)1 << shift);
      if (!fits_int32(fold) || !fits_int32(product) || !fits_int32(product + fold)) continue;
      const int32_t fold32 = (int32_t)fold;
      const narrow_rescale rescale = {NULL, &multipliers[j], &fold32, &shift, 0};
      check_equal(narrow_end_multiply(&rescale, 0, acc), saturated(rounded(product, shift) + zero_points[i]), acc);
    }
  }
}

static void test_wide(int8_t shift, int32_t acc) {
  const int32_t multipliers[] = {0, 1, 255, (int32_t)draw(0, INT32_MAX), INT32_MAX};
  for (int i = 0; i < ZERO_POINTS; ++i) {
    for (int j = 0; j < 5; ++j) {
      const narrow_rescale rescale = {NULL, &multipliers[j], NULL, &shift, zero_points[i]};
      const int64_t y = rounded((int64_t)acc * multipliers[j], shift) + zero_points[i];
      check_equal(narrow_end_wide(&rescale, 0, acc), saturated(y), acc);
    }
  }
}

static void test_stock(int8_t shift, int32_t acc) {
  const int32_t multipliers[] = {0, 1 << 30, (1 << 30) + 1, (int32_t)draw(1 << 30, INT32_MAX), INT32_MAX};
  for (int j = 0; j < 5; ++j) {
    const int64_t y = stock_rescaled(acc, multipliers[j], shift);
    check_equal(narrow_stock_rescale(acc, multipliers[j], shift), y, acc);
    check_equal(narrow_doubling_high_multiply_32(acc, multipliers[j]), stock_rescaled(acc, multipliers[j], 0), acc);
    for (int i = 0; i < ZERO_POINTS; ++i) {
      const narrow_rescale rescale = {NULL, &multipliers[j], NULL, &shift, zero_points[i]};
      check_equal(narrow_end_stock(&rescale, 0, acc), saturated(y + zero_points[i]), acc);
    }
  }
}

static void test_stock_folded(int8_t shift, int32_t acc) {
  const int32_t multipliers[] = {0, 1 << 30, (1 << 30) + 1, (int32_t)draw(1 << 30, INT32_MAX), INT32_MAX};
  if (acc <= -(1 << 30) || acc >= 1 << 30) return;
  for (int j = 0; j < 5; ++j) {
    const int64_t y = stock_rescaled(acc, multipliers[j], shift);
    const int64_t product = stock_rescaled(acc, multipliers[j], 0);
    check_equal(narrow_doubling_high_multiply_30(acc, multipliers[j]), product, acc);
    check_equal(narrow_doubling_high_multiply_32_30(acc, multipliers[j]), product, acc);
    for (int i = 0; i < ZERO_POINTS; ++i) {
      const int64_t fold = half(shift) + zero_points[i] * ((int64_t)1 << shift);
      const int64_t sum = product + fold;
      if (!fits_int32(fold - 1) || !fits_int32(fold) || !fits_int32(sum - 1) || !fits_int32(sum)) continue;
      const int32_t fold32 = (int32_t)fold;
      const narrow_rescale rescale = {NULL, &multipliers[j], &fold32, &shift, 0};
      check_equal(narrow_end_stock_folded(&rescale, 0, acc), saturated(y + zero_points[i]), acc);
    }
  }
}

int main(void) {
  test_saturate();
  for (int shift = -31; shift <= 62; ++shift) {
    for (int i = 0; i < 2000; ++i) {
      begin_case("rescale", (int64_t)(shift + 31) * 2000 + i);
      const int32_t acc = draw_accumulator(shift < 0 ? 0 : shift);
      if (shift >= 0) test_wide((int8_t)shift, acc);
      if (shift >= 0 && shift <= 31) test_shift((int8_t)shift, acc);
      if (shift >= 0 && shift <= 31) test_multiply((int8_t)shift, acc);
      if (shift <= 31) test_stock((int8_t)shift, acc);
      if (shift > 0 && shift <= 31) test_stock_folded((int8_t)shift, acc);
    }
  }
  return 0;
}
