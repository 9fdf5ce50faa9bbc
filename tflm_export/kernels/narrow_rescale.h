/* SPDX-License-Identifier: Apache-2.0 */
/* The last step of an accumulator, to be inlined into every loop that has one. */
#ifndef NARROW_RESCALE_H
#define NARROW_RESCALE_H

#include "narrow_kernels.h"
#include "narrow_times.h"

#if NARROW_HAS_SSAT && defined(__clang__)
#include <arm_acle.h>
#endif

/* C99 leaves >> of a negative integer to the implementation; all that follows needs the arithmetic one. */
typedef char narrow_needs_an_arithmetic_shift[(-3 >> 1) == -2 ? 1 : -1];

/* min(max(x, -128), 127). */
static NARROW_INLINE int8_t narrow_saturate(int32_t x) {
#if NARROW_HAS_SSAT && defined(__clang__)
  return (int8_t)__ssat(x, 8);
#elif NARROW_HAS_SSAT /* gcc's own __ssat changes a sign, and is in no gcc before 10 */
  int32_t y;
  __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
  return (int8_t)y;
#elif NARROW_THUMB_1
  int32_t y; /* its low byte is the result */
  __asm__(".syntax unified\n\t"
          "sxtb %0, %1\n\t"
          "cmp  %0, %1\n\t"
          "beq  1f\n\t"
          "asrs %0, %1, #31\n\t"
          "mvns %0, %0\n\t"
          "adds %0, %0, #128\n"
          "1:"
          : "=&l"(y)
          : "l"(x)
          : "cc");
  return (int8_t)y;
#elif NARROW_GNU && defined(__riscv) && !defined(__riscv_zbb) /* one branch, rarely taken, of which clang would make two */
  if (__builtin_expect((uint32_t)x + 128u > 255u, 0)) x = (x >> 31) ^ 127;
  return (int8_t)x;
#else
  if ((uint32_t)x + 128u > 255u) x = x < 0 ? -128 : 127;
  return (int8_t)x;
#endif
}

/* 2 * a * b / 2^32, rounded, halves up. a: any; b: 0..2^31 - 1. (gemmlowp's SaturatingRoundingDoublingHighMul.) */
static NARROW_INLINE int32_t narrow_doubling_high_multiply_64(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* The same from products of 32 bits. With halves a = 2^16 ah + al, al signed, and b = 2^16 bh + bl, bl not, it is
 * (2^16 ah bh + ah bl + al bh + al bl / 2^16 + 2^14) / 2^15, rounded down; ah bl, up to 2^31, is divided on its own. */
static NARROW_INLINE int32_t narrow_doubling_high_multiply_32(int32_t a, int32_t b) {
  const int32_t al = (int16_t)a, ah = (a >> 16) + (al < 0), bl = b & 0xffff, bh = b >> 16;
  const int32_t outer = narrow_times(ah, bl), inner = narrow_times(al, bh) + (narrow_times(bl, al) >> 16);
  return 2 * narrow_times(ah, bh) + (outer >> 15) + ((inner + (outer & 0x7fff) + (1 << 14)) >> 15);
}

/* With |a| < 2^30 the sum fits as it is. */
static NARROW_INLINE int32_t narrow_doubling_high_multiply_32_30(int32_t a, int32_t b) {
  const int32_t al = (int16_t)a, ah = (a >> 16) + (al < 0), bl = b & 0xffff, bh = b >> 16;
  return 2 * (ah * bh) + ((ah * bl + al * bh + ((al * bl) >> 16) + (1 << 14)) >> 15);
}

static NARROW_INLINE int32_t narrow_doubling_high_multiply(int32_t a, int32_t b) {
  return NARROW_THUMB_1 ? narrow_doubling_high_multiply_32(a, b) : narrow_doubling_high_multiply_64(a, b);
}

/* The same for |a| < 2^30. */
static NARROW_INLINE int32_t narrow_doubling_high_multiply_30(int32_t a, int32_t b) {
#if NARROW_DSP
  int32_t y;
  __asm__("smmulr %0, %1, %2" : "=r"(y) : "r"(2 * a), "r"(b));
  return y;
#else
  if (!NARROW_THUMB_1) return narrow_doubling_high_multiply_64(a, b);
  return narrow_doubling_high_multiply_32_30(a, b);
#endif
}

/* x / 2^exponent, halves away from zero, which are those up of a negative number that is 1 smaller. x: not INT32_MIN,
 * and not INT32_MAX where exponent is 1; exponent: 1..31. (gemmlowp's RoundingDivideByPOT.) */
static NARROW_INLINE int32_t narrow_rounding_divide_by_pot(int32_t x, int32_t exponent) {
  return (((x + (x >> 31)) >> (exponent - 1)) + 1) >> 1;
}

/* TFLite's MultiplyByQuantizedMultiplier with two roundings; shift: beyond 31, to the right. A left shift wraps. */
static NARROW_INLINE int32_t narrow_stock_rescale(int32_t acc, int32_t multiplier, int32_t shift) {
  if (shift <= 0) return narrow_doubling_high_multiply((int32_t)((uint32_t)acc << -shift), multiplier);
  return narrow_rounding_divide_by_pot(narrow_doubling_high_multiply(acc, multiplier), shift);
}

/* The ends of a layer: the output of channel c from its accumulator. */

static NARROW_INLINE int8_t narrow_end_shift(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  return narrow_saturate(acc >> rescale->shift[c]);
}

static NARROW_INLINE int8_t narrow_end_multiply(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  return narrow_saturate((acc * rescale->multiplier[c] + rescale->fold[c]) >> rescale->shift[c]);
}

static NARROW_INLINE int8_t narrow_end_wide(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  const int32_t shift = rescale->shift[c];
  const int64_t half = ((int64_t)1 << shift) >> 1;
  const int64_t y = (((int64_t)acc * rescale->multiplier[c] + half) >> shift) + rescale->zero_point;
  return y < -128 ? -128 : y > 127 ? 127 : (int8_t)y;
}

static NARROW_INLINE int8_t narrow_end_stock(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  const int32_t shift = rescale->shift[c];
  const int32_t y = narrow_stock_rescale(acc, rescale->multiplier[c], shift);
  if (shift > 0) return narrow_saturate(y + rescale->zero_point);
  const int32_t low = -128 - rescale->zero_point, high = 127 - rescale->zero_point; /* y + Zy could leave 32 bits */
  return (int8_t)((y < low ? low : y > high ? high : y) + rescale->zero_point);
}

/* The same where fold_stock of c/epilogue.py proved it, from fold = 2^(shift-1) + Zy * 2^shift. */
static NARROW_INLINE int8_t narrow_end_stock_folded(const narrow_rescale *rescale, int32_t c, int32_t acc) {
  const int32_t y = narrow_doubling_high_multiply(acc, rescale->multiplier[c]);
  const uint32_t sum = (uint32_t)y + (uint32_t)(acc >> 31) + (uint32_t)rescale->fold[c]; /* that of no output wraps */
  return narrow_saturate((int32_t)sum >> rescale->shift[c]);
}

/* Which of them. NARROW_END_NONE: sums are the output, of loops that end no layer. */
typedef enum {
  NARROW_END_NONE,
  NARROW_END_SHIFT,
  NARROW_END_MULTIPLY,
  NARROW_END_WIDE,
  NARROW_END_STOCK,
  NARROW_END_STOCK_FOLDED
} narrow_end;

/* The one that `end` names, a constant where this is inlined; not NARROW_END_NONE. */
static NARROW_INLINE int8_t narrow_finish(narrow_end end, const narrow_rescale *rescale, int32_t c, int32_t acc) {
  switch (end) {
    case NARROW_END_SHIFT: return narrow_end_shift(rescale, c, acc);
    case NARROW_END_MULTIPLY: return narrow_end_multiply(rescale, c, acc);
    case NARROW_END_WIDE: return narrow_end_wide(rescale, c, acc);
    case NARROW_END_STOCK: return narrow_end_stock(rescale, c, acc);
    default: return narrow_end_stock_folded(rescale, c, acc);
  }
}

/* The ends of loops that are in assembly where the core's is known, as their macros name them. */
#define NARROW_LOOP_SHIFT NARROW_END_SHIFT
#define NARROW_LOOP_MULTIPLY NARROW_END_MULTIPLY
#define NARROW_LOOP_STOCK NARROW_END_STOCK_FOLDED
#define NARROW_LOOP_SUM NARROW_END_NONE

/* Defines the four functions of a layer, NAME_shift to NAME_stock, as a call of the one that they share.
 *
 * parameters: theirs, in parentheses. call: what each does with its `end`. */
#define NARROW_DEFINE_ENDS(name, parameters, call)                                                     \
  NARROW_KERNEL void name##_shift parameters { const narrow_end end = NARROW_END_SHIFT; call; }       \
  NARROW_KERNEL void name##_multiply parameters { const narrow_end end = NARROW_END_MULTIPLY; call; } \
  NARROW_KERNEL void name##_wide parameters { const narrow_end end = NARROW_END_WIDE; call; }         \
  NARROW_KERNEL void name##_stock parameters { const narrow_end end = NARROW_END_STOCK; call; }

#endif
