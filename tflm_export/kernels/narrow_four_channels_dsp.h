/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs against the weights of four channels, on cores with products in pairs. */
#ifndef NARROW_FOUR_CHANNELS_DSP_H
#define NARROW_FOUR_CHANNELS_DSP_H

#include "narrow_assembly.h"
#include "narrow_dsp.h"
#include "narrow_products.h"

#if NARROW_PAIRED_PRODUCTS

/* Adds the products of depth4 steps to the accumulators of 4 channels, which wrap.
 *
 * depth4: a multiple of 4, at least 4. wide: [depth4 / 2] pairs of int16 inputs. weights: [depth4 / 2, 2] words
 * (A k, B k, A k + 1, B k + 1) of channels A and B, lowest byte first, and of C and D. */
#if NARROW_DSP_LOOPS

NARROW_C void narrow_four_channels(int32_t depth4, const int32_t *wide, const int32_t *weights, int32_t sums[4]);

/* Two steps of four channels. input: their inputs; r10, r11: weights, r12 unpacks them. */
#define NARROW_EIGHT_PRODUCTS(input)           \
  "ldrd   r10, r11, [r2], #8\n\t"              \
  "sxtb16 r12, r10\n\t"                        \
  "smlad  r4, " input ", r12, r4\n\t"          \
  "sxtb16 r12, r10, ror #8\n\t"                \
  "smlad  r5, " input ", r12, r5\n\t"          \
  "sxtb16 r12, r11\n\t"                        \
  "smlad  r6, " input ", r12, r6\n\t"          \
  "sxtb16 r12, r11, ror #8\n\t"                \
  "smlad  r7, " input ", r12, r7\n\t"

/* 25 cycles on a Cortex-M4. r1, r2: inputs and weights, r0: the inputs' end. */
#define NARROW_SIXTEEN_PRODUCTS "ldrd   r8, r9, [r1], #8\n\t" NARROW_EIGHT_PRODUCTS("r8") NARROW_EIGHT_PRODUCTS("r9")

__asm__(NARROW_ASSEMBLY_BEGIN("narrow_four_channels")
        "push   {r3-r11, lr}\n\t"
        "ldm    r3, {r4-r7}\n\t"
        "add    r0, r1, r0, lsl #1\n\t"
        "sub    r3, r0, r1\n\t"
        "lsls   r3, r3, #28\n\t"
        "beq    2f\n\t" NARROW_SIXTEEN_PRODUCTS /* until whole eights are left */
        "cmp    r1, r0\n\t"
        "beq    3f\n"
        "2:\n\t" NARROW_SIXTEEN_PRODUCTS NARROW_SIXTEEN_PRODUCTS
        "cmp    r1, r0\n\t"
        "bne    2b\n"
        "3:\n\t"
        "pop    {r3}\n\t"
        "stm    r3, {r4-r7}\n\t"
        "pop    {r4-r11, pc}\n\t"
        NARROW_ASSEMBLY_END("narrow_four_channels"));

#else

static inline void narrow_four_channels(int32_t depth4, const int32_t *wide, const int32_t *weights, int32_t sums[4]) {
  for (int32_t i = 0; i < depth4 / 2; ++i, weights += 2) {
    sums[0] = narrow_mac2(wide[i], narrow_even(weights[0]), sums[0]);
    sums[1] = narrow_mac2(wide[i], narrow_odd(weights[0]), sums[1]);
    sums[2] = narrow_mac2(wide[i], narrow_even(weights[1]), sums[2]);
    sums[3] = narrow_mac2(wide[i], narrow_odd(weights[1]), sums[3]);
  }
}

#endif

#endif

#endif
