#include "narrow_rescale.h"

static NARROW_INLINE void mul(int32_t repeats, int32_t count, const int32_t *zero_points,
                              const narrow_rescale *rescale, const int8_t *a, const int8_t *b, int8_t *output,
                              narrow_end *end, int32_t start) {
  for (int32_t repeat = 0; repeat < repeats; ++repeat) {
    for (int32_t i = 0; i < count; ++i) {
      *output++ = end(rescale, 0, start + (*a++ - zero_points[0]) * (b[i] - zero_points[1]));
    }
  }
}

void narrow_mul_shift(int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                      const int8_t *a, const int8_t *b, int8_t *output) {
  mul(repeats, count, zero_points, rescale, a, b, output, narrow_end_shift, rescale->start[0]);
}

void narrow_mul_multiply(int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                         const int8_t *a, const int8_t *b, int8_t *output) {
  mul(repeats, count, zero_points, rescale, a, b, output, narrow_end_multiply, rescale->start[0]);
}

void narrow_mul_wide(int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                     const int8_t *a, const int8_t *b, int8_t *output) {
  mul(repeats, count, zero_points, rescale, a, b, output, narrow_end_wide, rescale->start[0]);
}

void narrow_mul_stock(int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                      const int8_t *a, const int8_t *b, int8_t *output) {
  mul(repeats, count, zero_points, rescale, a, b, output, narrow_end_stock, rescale->start[0]);
}
