/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs against the weights of two channels, on cores without products in pairs. */
#ifndef NARROW_TWO_CHANNELS_V6M_H
#define NARROW_TWO_CHANNELS_V6M_H

#include "narrow_rescale.h"
#include "narrow_v6m.h"

/* Adds the products of depth4 steps to the accumulators of 2 channels.
 *
 * depth4: a multiple of 4, at least 4. columns: [depth4] inputs. weights: [depth4 / 2] words
 * (A k, B k, A k + 1, B k + 1) of channels A and B, lowest byte first. sums: [2]. */
#if NARROW_V6M_LOOPS

NARROW_C void narrow_two_channels(int32_t depth4, const int32_t *columns, const int32_t *weights,
                                  int32_t sums[2]);

/* r0, r1 point to columns and weights, r6, r7 are the sums. */
__asm__(NARROW_ASSEMBLY_BEGIN("narrow_two_channels")
        "push   {r3-r7, lr}\n\t"
        "lsls   r0, r0, #2\n\t"
        "adds   r0, r0, r1\n\t"
        "mov    r12, r0\n\t" /* the end of the columns */
        "movs   r0, r1\n\t"
        "movs   r1, r2\n\t"
        "ldm    r3!, {r6, r7}\n"
        "1:\n\t"
        "mov    r2, r12\n\t"
        "subs   r2, r2, r0\n\t"
        "lsls   r2, r2, #26\n\t"
        "beq    2f\n\t" NARROW_V6M_STEP NARROW_V6M_STEP /* until whole sixteens are left */
        "b      1b\n"
        "2:\n\t"
        "cmp    r0, r12\n\t"
        "bne    3f\n\t"
        "b      4f\n"
        "3:\n\t"
        ".rept 8\n\t" NARROW_V6M_STEP ".endr\n\t"
        "cmp    r0, r12\n\t"
        "beq    4f\n\t"
        "b      3b\n"
        "4:\n\t"
        "ldr    r3, [sp]\n\t"
        "stm    r3!, {r6, r7}\n\t"
        "pop    {r3-r7, pc}\n\t"
        NARROW_ASSEMBLY_END("narrow_two_channels"));

#else

static inline void narrow_two_channels(int32_t depth4, const int32_t *columns, const int32_t *weights,
                                       int32_t sums[2]) {
  for (int32_t i = 0; i < depth4; i += 2, ++weights) {
    for (int32_t c = 0; c < 2; ++c) {
      const int32_t first = columns[i] * (int8_t)((uint32_t)*weights >> (8 * c));
      const int32_t second = columns[i + 1] * (int8_t)((uint32_t)*weights >> (16 + 8 * c));
      sums[c] = (int32_t)((uint32_t)sums[c] + (uint32_t)first + (uint32_t)second); /* wraps, as in assembly */
    }
  }
}

#endif

#endif
