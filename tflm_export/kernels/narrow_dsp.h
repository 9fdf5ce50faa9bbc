/* SPDX-License-Identifier: Apache-2.0 */
/* Two products at a time: the DSP extension of Cortex-M4, M7 and M33, and the same in plain C for any other machine. */
#ifndef NARROW_DSP_H
#define NARROW_DSP_H

#include "narrow_rescale.h"

#if NARROW_DSP
#include <arm_acle.h>

/* Bytes 0 and 2, widened to a pair of int16. */
static NARROW_INLINE int32_t narrow_even(int32_t x) { return __sxtb16(x); }

/* Bytes 1 and 3. The rotation is part of the instruction, which gcc does not know. */
static NARROW_INLINE int32_t narrow_odd(int32_t x) {
  int32_t pair;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(x));
  return pair;
}

/* acc + both products of two pairs. */
static NARROW_INLINE int32_t narrow_mac2(int32_t x, int32_t w, int32_t acc) { return __smlad(x, w, acc); }

/* acc + the product of the lower, of the upper halves. */
static NARROW_INLINE int32_t narrow_mac_low(int32_t x, int32_t w, int32_t acc) { return __smlabb(x, w, acc); }
static NARROW_INLINE int32_t narrow_mac_high(int32_t x, int32_t w, int32_t acc) { return __smlatt(x, w, acc); }

/* The differences of two pairs. */
static NARROW_INLINE int32_t narrow_less2(int32_t x, int32_t y) {
  int32_t pair;
  __asm__("ssub16 %0, %1, %2" : "=r"(pair) : "r"(x), "r"(y));
  return pair;
}

/* The lower, the upper halves of both. */
static NARROW_INLINE int32_t narrow_low_halves(int32_t x, int32_t y) {
  int32_t pair;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(x), "r"(y));
  return pair;
}
static NARROW_INLINE int32_t narrow_high_halves(int32_t x, int32_t y) {
  int32_t pair;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(y), "r"(x));
  return pair;
}

#else

static NARROW_INLINE int32_t narrow_pair(int32_t low, int32_t high) {
  return (int32_t)(((uint32_t)low & 0xffffu) | ((uint32_t)high << 16));
}

static NARROW_INLINE int32_t narrow_even(int32_t x) { return narrow_pair((int8_t)x, (int8_t)(x >> 16)); }
static NARROW_INLINE int32_t narrow_odd(int32_t x) { return narrow_pair((int8_t)(x >> 8), (int8_t)(x >> 24)); }

/* The sum wraps, as the instructions' does: the last tile of a layer adds up pixels that are not there. */
static NARROW_INLINE int32_t narrow_mac_low(int32_t x, int32_t w, int32_t acc) {
  return (int32_t)((uint32_t)acc + (uint32_t)((int16_t)x * (int16_t)w));
}

static NARROW_INLINE int32_t narrow_mac_high(int32_t x, int32_t w, int32_t acc) {
  return narrow_mac_low(x >> 16, w >> 16, acc);
}

static NARROW_INLINE int32_t narrow_mac2(int32_t x, int32_t w, int32_t acc) {
  return narrow_mac_high(x, w, narrow_mac_low(x, w, acc));
}

static NARROW_INLINE int32_t narrow_less2(int32_t x, int32_t y) {
  return narrow_pair((int16_t)x - (int16_t)y, (x >> 16) - (y >> 16));
}

static NARROW_INLINE int32_t narrow_low_halves(int32_t x, int32_t y) { return narrow_pair(x, y); }
static NARROW_INLINE int32_t narrow_high_halves(int32_t x, int32_t y) { return narrow_pair(x >> 16, y >> 16); }

#endif

/* A number in both halves. */
static NARROW_INLINE int32_t narrow_both(int32_t x) { return narrow_low_halves(x, x); }

/* A word of four bytes at any address, the first one lowest. */
static NARROW_INLINE int32_t narrow_word(const int8_t *from) {
#if NARROW_GNU && NARROW_LITTLE_ENDIAN
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
#else
  return (int32_t)((uint32_t)(uint8_t)from[0] | (uint32_t)(uint8_t)from[1] << 8 | (uint32_t)(uint8_t)from[2] << 16 |
                   (uint32_t)(uint8_t)from[3] << 24);
#endif
}

#endif
