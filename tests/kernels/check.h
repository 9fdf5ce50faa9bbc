/* Host tests of the kernels: reproducible cases, guarded memory, and exact arithmetic to hold the kernels against.
 *
 * All references work in 64 bits on values as the definition has them (centred at their zero points), with divisions
 * instead of shifts: nothing of the kernels' folding and nothing that a compiler may do its own way. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a failure is reported with. */
static const char *check_name = "";
static int64_t check_case;

/* SplitMix64 (Steele, Lea, Flood 2014); a case is what its number makes of it. */
static uint64_t random_state;

static inline void begin_case(const char *name, int64_t number) {
  check_name = name;
  check_case = number;
  random_state = (uint64_t)number;
}

static inline uint64_t random_bits(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* Uniform in low..high. */
static inline int64_t draw(int64_t low, int64_t high) {
  return low + (int64_t)(random_bits() % ((uint64_t)high - (uint64_t)low + 1));
}

/* Of either sign, below 2^bits in magnitude, of every order of magnitude alike; bits: 0..62. */
static inline int64_t draw_magnitude(int bits) {
  const int64_t limit = (int64_t)1 << draw(0, bits);
  return draw(1 - limit, limit - 1);
}

/* Zero points at the ends of int8 more often than chance has it. */
static inline int32_t draw_zero_point(void) {
  const int32_t ends[] = {-128, -127, 0, 127};
  return draw(0, 1) ? ends[draw(0, 3)] : (int32_t)draw(-128, 127);
}

static inline void check_equal(int64_t actual, int64_t expected, int64_t index) {
  if (actual == expected) return;
  fprintf(stderr, "%s, case %" PRId64 ", element %" PRId64 ": %" PRId64 " instead of %" PRId64 "\n", check_name,
          check_case, index, actual, expected);
  exit(1);
}

static inline void check_arrays(const int8_t *actual, const int8_t *expected, int64_t count) {
  for (int64_t i = 0; i < count; ++i) check_equal(actual[i], expected[i], i);
}

/* Exactly this many bytes, so that AddressSanitizer sees what is read behind them. */
static inline void *allocate(int64_t bytes) {
  void *memory = malloc((size_t)(bytes > 0 ? bytes : 1));
  if (memory == NULL) abort();
  return memory;
}

/* int8 activations or weights: random, all of one value, or the ends of their range only. */
static inline int8_t *draw_int8(int64_t count) {
  int8_t *values = allocate(count);
  const int64_t kind = draw(0, 7);
  const int8_t constant = (int8_t)(draw(0, 1) ? -128 : draw(-128, 127));
  for (int64_t i = 0; i < count; ++i) {
    values[i] = kind == 0 ? constant : kind == 1 ? (int8_t)(draw(0, 1) ? -128 : 127) : (int8_t)draw(-128, 127);
  }
  return values;
}

/* Memory that a kernel writes, between canaries that must survive. Aligned to 4. */
#define GUARD 64
#define CANARY 0x5a

typedef struct {
  int8_t *data;
  int64_t bytes;
} guarded;

static inline guarded allocate_guarded(int64_t bytes) {
  int8_t *memory = allocate(bytes + 2 * GUARD);
  memset(memory, CANARY, (size_t)(bytes + 2 * GUARD));
  const guarded result = {memory + GUARD, bytes};
  return result;
}

static inline void free_guarded(guarded memory) {
  for (int64_t i = 0; i < GUARD; ++i) {
    check_equal(memory.data[-1 - i], CANARY, -1 - i);
    check_equal(memory.data[memory.bytes + i], CANARY, memory.bytes + i);
  }
  free(memory.data - GUARD);
}

/* floor(a / b), b > 0. */
static inline int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int8_t saturated(int64_t x) { return (int8_t)larger(-128, smaller(127, x)); }
static inline int fits_int32(int64_t x) { return x >= INT32_MIN && x <= INT32_MAX; }

/* 2^(shift - 1), 0 at shift 0. */
static inline int64_t half(int shift) { return shift == 0 ? 0 : (int64_t)1 << (shift - 1); }

/* value / 2^shift, rounded once, halves up; shift: 0..62, |value| < 2^62. */
static inline int64_t rounded(int64_t value, int shift) {
  return floor_divide(value + half(shift), (int64_t)1 << shift);
}

/* value / divisor, halves away from zero; divisor > 0. */
static inline int64_t rounded_away(int64_t value, int64_t divisor) {
  const int64_t magnitude = value < 0 ? -value : value;
  const int64_t quotient = (magnitude + divisor / 2) / divisor;
  return value < 0 ? -quotient : quotient;
}

/* TFLite's MultiplyByQuantizedMultiplier as gemmlowp defines its two steps: acc * multiplier / 2^31 rounded to
 * nearest, halves up, then / 2^shift rounded to nearest, halves away from zero. shift: -31..31, negative to the left,
 * where the product with 2^-shift keeps its lower 32 bits. */
static inline int64_t stock_rescaled(int64_t acc, int64_t multiplier, int shift) {
  const int64_t two32 = (int64_t)1 << 32;
  if (shift < 0) {
    acc *= (int64_t)1 << -shift;
    acc -= floor_divide(acc, two32) * two32;
    if (acc >= two32 / 2) acc -= two32;
  }
  const int64_t high = rounded(acc * multiplier, 31);
  return shift <= 0 ? high : rounded_away(high, (int64_t)1 << shift);
}

#endif
