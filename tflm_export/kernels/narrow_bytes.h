/* SPDX-License-Identifier: Apache-2.0 */
/* Words of bytes: four at a time, for loops over elements, in registers of 32 bits; and the parts of a word. */
#ifndef NARROW_BYTES_H
#define NARROW_BYTES_H

#include "narrow_rescale.h"

/* Whether two arrays begin where words do. */
static NARROW_INLINE int narrow_are_words(const void *a, const void *b) {
  return NARROW_GNU && (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

/* A byte four times. */
static NARROW_INLINE uint32_t narrow_four(int8_t x) { return (uint32_t)(uint8_t)x * 0x01010101u; }

/* Four bytes of an array, at the address of a word; their order is that of the machine. */
static NARROW_INLINE uint32_t narrow_get_four(const void *from) {
#if NARROW_GNU
  uint32_t word;
  __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
  return word;
#else
  const uint8_t *bytes = (const uint8_t *)from;
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
#endif
}

static NARROW_INLINE void narrow_set_four(void *to, uint32_t word) {
#if NARROW_GNU
  __builtin_memcpy(__builtin_assume_aligned(to, 4), &word, sizeof word);
#else
  uint8_t *bytes = (uint8_t *)to;
  for (int32_t i = 0; i < 4; ++i) bytes[i] = (uint8_t)(word >> (8 * i));
#endif
}

/* Byte i of a word, and half of it, with their signs; 0 is the lowest one. Where a load is as fast as a shift, as on
 * RISC-V, it is all that this takes. */
static NARROW_INLINE int32_t narrow_byte(const int32_t *word, int32_t i) {
  return NARROW_LITTLE_ENDIAN ? ((const int8_t *)word)[i] : (int8_t)((uint32_t)*word >> (8 * i));
}

static NARROW_INLINE int32_t narrow_half(const int32_t *word, int32_t i) {
#if NARROW_GNU && NARROW_LITTLE_ENDIAN
  int16_t half;
  __builtin_memcpy(&half, __builtin_assume_aligned((const int8_t *)word + 2 * i, 2), sizeof half);
  return half;
#else
  return (int16_t)((uint32_t)*word >> (16 * i));
#endif
}

/* 255 in each byte of a that is larger than that of b, or the same; both without a sign. */
static NARROW_INLINE uint32_t narrow_not_below(uint32_t a, uint32_t b) {
  const uint32_t tops = 0x80808080u;
  const uint32_t by_low_bits = (a | tops) - (b & ~tops); /* the top bit: whether the others of a are not below those of b */
  const uint32_t at_top = ((a & ~b) | (~(a ^ b) & by_low_bits)) & tops;
  return (at_top << 1) - (at_top >> 7);
}

/* The smaller ones of four pairs of int8. */
static NARROW_INLINE uint32_t narrow_smaller_four(uint32_t a, uint32_t b) {
#if NARROW_DSP
  uint32_t y;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(y) : "r"(a), "r"(b));
  return y;
#else
  return a ^ ((a ^ b) & narrow_not_below(a ^ 0x80808080u, b ^ 0x80808080u));
#endif
}

/* The larger ones. */
static NARROW_INLINE uint32_t narrow_larger_four(uint32_t a, uint32_t b) {
#if NARROW_DSP
  uint32_t y;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(y) : "r"(a), "r"(b));
  return y;
#else
  return b ^ ((a ^ b) & narrow_not_below(a ^ 0x80808080u, b ^ 0x80808080u));
#endif
}

#endif
