/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of narrow_conv_2d_int16.h for cores without the DSP extension: two pixels and two channels, 35 cycles for 8
 * products on a Cortex-M0+, and 3 for every 16.
 *
 * NARROW_CONV_2D_INT16_V6M(name, end, words, channels) makes a narrow_tile_kernel. end: SUM, there is no other. words:
 * of inputs under a window, an even number. channels: 2 or more. */
#ifndef NARROW_CONV_2D_INT16_V6M_H
#define NARROW_CONV_2D_INT16_V6M_H

#include "narrow_conv_2d_int16.h"
#include "narrow_dsp.h"
#include "narrow_v6m.h"

/* Sums of two channels: [channels, pixels] in `sums`.
 *
 * x: inputs of the first pixel; of the second one `bytes`, a multiple of 8, behind them, which is where the first one's
 * end. weights: where both channels start, and the weights. */
#if NARROW_V6M_LOOPS

/* Two inputs of two pixels times two weights of two channels. r0: inputs, r1: bytes, r2: weights, r8, r9: sums of the
 * first channel, r10, r11: of the second one, r3-r7: all else. */
#define NARROW_INT16_V6M_STEP \
  "ldm  r2!, {r3}\n\t"        \
  "ldr  r4, [r0, r1]\n\t"     \
  "ldm  r0!, {r5}\n\t"        \
  "sxtb r7, r3\n\t"           \
  "sxth r6, r5\n\t"           \
  "muls r6, r7, r6\n\t"       \
  "add  r8, r6\n\t"           \
  "sxth r6, r4\n\t"           \
  "muls r6, r7, r6\n\t"       \
  "add  r9, r6\n\t"           \
  "lsrs r7, r3, #8\n\t"       \
  "sxtb r7, r7\n\t"           \
  "sxth r6, r5\n\t"           \
  "muls r6, r7, r6\n\t"       \
  "add  r10, r6\n\t"          \
  "sxth r6, r4\n\t"           \
  "muls r6, r7, r6\n\t"       \
  "add  r11, r6\n\t"          \
  "asrs r5, r5, #16\n\t"      \
  "asrs r4, r4, #16\n\t"      \
  "asrs r3, r3, #16\n\t"      \
  "sxtb r7, r3\n\t"           \
  "movs r6, r7\n\t"           \
  "muls r6, r5, r6\n\t"       \
  "add  r8, r6\n\t"           \
  "muls r7, r4, r7\n\t"       \
  "add  r9, r7\n\t"           \
  "asrs r3, r3, #8\n\t"       \
  "muls r5, r3, r5\n\t"       \
  "add  r10, r5\n\t"          \
  "muls r4, r3, r4\n\t"       \
  "add  r11, r4\n\t"

/* r12: end of the first pixel's inputs. */
NARROW_C void narrow_int16_pair_v6m(const int32_t *x, int32_t bytes, const int32_t *weights, int32_t sums[4]);
__asm__(NARROW_ASSEMBLY_BEGIN("narrow_int16_pair_v6m")
        NARROW_V6M_SAVE
        "push {r3}\n\t"
        "adds r4, r0, r1\n\t"
        "mov  r12, r4\n\t"
        "ldm  r2!, {r4, r5}\n\t"
        "mov  r8, r4\n\t"
        "mov  r9, r4\n\t"
        "mov  r10, r5\n\t"
        "mov  r11, r5\n"
        "1:\n\t" NARROW_INT16_V6M_STEP NARROW_INT16_V6M_STEP
        "cmp  r0, r12\n\t"
        "bne  1b\n\t"
        "pop  {r3}\n\t"
        "mov  r4, r8\n\t"
        "mov  r5, r9\n\t"
        "mov  r6, r10\n\t"
        "mov  r7, r11\n\t"
        "stm  r3!, {r4-r7}\n\t"
        NARROW_V6M_RETURN
        NARROW_ASSEMBLY_END("narrow_int16_pair_v6m"));

#else

static NARROW_INLINE void narrow_int16_pair_v6m(const int32_t *x, int32_t bytes, const int32_t *weights,
                                                int32_t sums[4]) {
  const int32_t words = bytes / 4;
  for (int32_t pixel = 0; pixel < 2; ++pixel) {
    int32_t a = weights[0], b = weights[1]; /* which wrap */
    for (int32_t i = 0; i < words; ++i) {
      a = narrow_mac2(x[pixel * words + i], narrow_even(weights[2 + i]), a);
      b = narrow_mac2(x[pixel * words + i], narrow_odd(weights[2 + i]), b);
    }
    sums[pixel] = a;
    sums[2 + pixel] = b;
  }
}

#endif

static NARROW_INLINE void narrow_conv_2d_int16_tile_v6m(const int32_t *const *rows, void *output,
                                                        const int32_t *weights, int32_t words, int32_t channels) {
  for (int32_t pair = 0; pair < channels; pair += 2, weights += 2 + words) {
    const int32_t first = pair + 2 > channels ? channels - 2 : pair;
    narrow_int16_pair_v6m(rows[0], 4 * words, weights, (int32_t *)output + 2 * first);
  }
}

#define NARROW_CONV_2D_INT16_V6M(name, end, words, channels)                                           \
  static void name(const int32_t *const *rows, void *output, const int32_t *weights) {                 \
    narrow_conv_2d_int16_tile_v6m(rows, output, weights, words, channels);                             \
  }

#endif
