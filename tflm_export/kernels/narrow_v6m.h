/* SPDX-License-Identifier: Apache-2.0 */
/* What assembly for ARMv6-M, and ARMv7-M without DSP, shares: the products of two words of inputs, the clamp and the
 * folded stock rescale, see narrow_saturate and narrow_end_stock_folded. */
#ifndef NARROW_V6M_H
#define NARROW_V6M_H

#include "narrow_assembly.h"

/* r4-r11 and lr, and back, with a return. */
#define NARROW_V6M_SAVE       \
  "push {r4-r7, lr}\n\t"      \
  "mov  r4, r8\n\t"           \
  "mov  r5, r9\n\t"           \
  "mov  r6, r10\n\t"          \
  "mov  r7, r11\n\t"          \
  "push {r4-r7}\n\t"
#define NARROW_V6M_RETURN     \
  "pop  {r4-r7}\n\t"          \
  "mov  r8, r4\n\t"           \
  "mov  r9, r5\n\t"           \
  "mov  r10, r6\n\t"          \
  "mov  r11, r7\n\t"          \
  "pop  {r4-r7, pc}\n\t"

/* Two words of inputs from r0 on, two weights of each of two channels from r1 on, added to r6 and r7: 19 cycles on a
 * Cortex-M0+. r2-r5 are lost. */
#define NARROW_V6M_STEP    \
  "ldm  r1!, {r2}\n\t"     \
  "ldm  r0!, {r3, r4}\n\t" \
  "sxtb r5, r2\n\t"        \
  "muls r5, r3, r5\n\t"    \
  "adds r6, r6, r5\n\t"    \
  "lsls r5, r2, #8\n\t"    \
  "asrs r5, r5, #24\n\t"   \
  "muls r5, r4, r5\n\t"    \
  "adds r6, r6, r5\n\t"    \
  "lsls r5, r2, #16\n\t"   \
  "asrs r5, r5, #24\n\t"   \
  "muls r5, r3, r5\n\t"    \
  "adds r7, r7, r5\n\t"    \
  "asrs r2, r2, #24\n\t"   \
  "muls r2, r4, r2\n\t"    \
  "adds r7, r7, r2\n\t"

/* sum: a low register; other: another one, which is lost. The low byte of `sum` is the result. */
#if defined(__thumb2__)
#define NARROW_V6M_CLAMP(sum, other) "ssat " sum ", #8, " sum "\n\t"
#else
#define NARROW_V6M_CLAMP(sum, other) \
  "sxtb " other ", " sum "\n\t"      \
  "cmp  " other ", " sum "\n\t"      \
  "beq  9f\n\t"                      \
  "asrs " sum ", " sum ", #31\n\t"   \
  "mvns " sum ", " sum "\n\t"        \
  "adds " sum ", " sum ", #128\n"    \
  "9:\n\t"
#endif

/* r4: multiplier, r6: fold, r7: shift, kept; r5: the multiplier's, too; r1-r3: all else. */

#if defined(__thumb2__)

#define NARROW_V6M_STOCK_SPLIT

/* r2 = the rounded product: bits 31.. of 64, and bit 30. */
#define NARROW_V6M_STOCK_PRODUCT(sum)  \
  "smull r1, r2, " sum ", r4\n\t"      \
  "lsls r1, r1, #1\n\t"                \
  "adcs r2, r2\n\t"                    \
  "lsls r1, r1, #1\n\t"                \
  "adc  r2, r2, #0\n\t"

#else

/* The multiplier m into its lower half in r4, its upper one in r5. */
#define NARROW_V6M_STOCK_SPLIT \
  "lsrs r5, r4, #16\n\t"       \
  "uxth r4, r4\n\t"

/* r2 = the rounded product, from a = 2^16 ah + al: as narrow_doubling_high_multiply_32, but |a| < 2^30 lets the sum of
 * all but ah mh fit; its division by 2^15 leaves the bit to round by in the carry. */
#define NARROW_V6M_STOCK_PRODUCT(sum)  \
  "mov  r2, " sum "\n\t"               \
  "sxth r1, r2\n\t"                    \
  "subs r2, r2, r1\n\t"                \
  "asrs r2, r2, #16\n\t"               \
  "movs r3, r1\n\t"                    \
  "muls r3, r4, r3\n\t"                \
  "asrs r3, r3, #16\n\t"               \
  "muls r1, r5, r1\n\t"                \
  "adds r3, r3, r1\n\t"                \
  "movs r1, r2\n\t"                    \
  "muls r1, r4, r1\n\t"                \
  "adds r3, r3, r1\n\t"                \
  "muls r2, r5, r2\n\t"                \
  "adds r2, r2, r2\n\t"                \
  "asrs r3, r3, #15\n\t"               \
  "adcs r2, r3\n\t"

#endif

/* The output into `sum`, any register, from the sum. */
#define NARROW_V6M_STOCK(sum)                              \
  NARROW_V6M_STOCK_PRODUCT(sum)                            \
  "asrs r3, r2, #31\n\t"                                   \
  "adds r2, r2, r3\n\t"                                    \
  "adds r2, r2, r6\n\t"                                    \
  "asrs r2, r2, r7\n\t" NARROW_V6M_CLAMP("r2", "r3")       \
  "mov  " sum ", r2\n\t"

#endif
