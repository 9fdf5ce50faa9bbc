#include "narrow_assembly.h"
#include "narrow_dsp.h"

/* Adds the products of `depth` inputs to the accumulators of 4 channels.
 *
 * depth: a multiple of 4, at least 4. weights: [depth / 4, 4], first the two words of channels A and B, then those of C
 * and D, see narrow_kernels.h. sums: [4]. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(NARROW_NO_DSP)

void narrow_fully_connected_dsp_sums(int32_t depth, const int8_t *input, const int32_t *weights, int32_t sums[4]);

/* 24 cycles for 16 products on a Cortex-M4. r4-r7 are the sums, r1, r2 the pointers, the rest unpacks. */
#define STEP                     \
  "ldr    r0, [r1], #4\n\t"      \
  "ldr    r8, [r2], #16\n\t"     \
  "ldr    r9, [r2, #-12]\n\t"    \
  "ldr    r10, [r2, #-8]\n\t"    \
  "ldr    r11, [r2, #-4]\n\t"    \
  "sxtb16 r3, r0\n\t"            \
  "sxtb16 r0, r0, ror #8\n\t"    \
  "sxtb16 r12, r8\n\t"           \
  "smlad  r4, r3, r12, r4\n\t"   \
  "sxtb16 r12, r8, ror #8\n\t"   \
  "smlad  r5, r3, r12, r5\n\t"   \
  "sxtb16 r12, r9\n\t"           \
  "smlad  r4, r0, r12, r4\n\t"   \
  "sxtb16 r12, r9, ror #8\n\t"   \
  "smlad  r5, r0, r12, r5\n\t"   \
  "sxtb16 r12, r10\n\t"          \
  "smlad  r6, r3, r12, r6\n\t"   \
  "sxtb16 r12, r10, ror #8\n\t"  \
  "smlad  r7, r3, r12, r7\n\t"   \
  "sxtb16 r12, r11\n\t"          \
  "smlad  r6, r0, r12, r6\n\t"   \
  "sxtb16 r12, r11, ror #8\n\t"  \
  "smlad  r7, r0, r12, r7\n\t"

__asm__(NARROW_ASSEMBLY_BEGIN("narrow_fully_connected_dsp_sums")
        "push   {r3-r11, lr}\n\t"
        "ldm    r3, {r4-r7}\n\t"
        "add    lr, r1, r0\n\t"
        "ands   r0, r0, #15\n\t"
        "beq.w  2f\n"
        "1:\n\t" STEP /* until whole sixteens are left */
        "sub    r0, lr, r1\n\t"
        "ands   r0, r0, #15\n\t"
        "bne    1b\n\t"
        "cmp    r1, lr\n\t"
        "beq.w  3f\n"
        "2:\n\t" STEP STEP STEP STEP
        "cmp    r1, lr\n\t"
        "bne.w  2b\n"
        "3:\n\t"
        "pop    {r3}\n\t"
        "stm    r3, {r4-r7}\n\t"
        "pop    {r4-r11, pc}\n\t"
        NARROW_ASSEMBLY_END("narrow_fully_connected_dsp_sums"));

#else

static void narrow_fully_connected_dsp_sums(int32_t depth, const int8_t *input, const int32_t *weights,
                                            int32_t sums[4]) {
  for (int32_t i = 0; i < depth; i += 4, weights += 4) {
    const int32_t x = narrow_load(input + i);
    for (int32_t pair = 0; pair < 2; ++pair) {
      const int32_t first = weights[2 * pair], second = weights[2 * pair + 1];
      int32_t *const sum = sums + 2 * pair;
      sum[0] = narrow_mac2(narrow_odd(x), narrow_even(second), narrow_mac2(narrow_even(x), narrow_even(first), sum[0]));
      sum[1] = narrow_mac2(narrow_odd(x), narrow_odd(second), narrow_mac2(narrow_even(x), narrow_odd(first), sum[1]));
    }
  }
}

#endif

static NARROW_INLINE void fully_connected_dsp(int32_t rows, int32_t depth, int32_t channels,
                                              const narrow_rescale *rescale, const int32_t *weights,
                                              const int8_t *input, int8_t *output, narrow_end *end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  rescale = &own_rescale;
  for (int32_t row = 0; row < rows; ++row, input += depth) {
    const int32_t *w = weights;
    for (int32_t c = 0; c < channels; c += 4, w += depth) {
      int32_t sums[4];
      for (int32_t i = 0; i < 4; ++i) sums[i] = rescale->start[c + i];
      narrow_fully_connected_dsp_sums(depth, input, w, sums);
      for (int32_t i = 0; i < 4; ++i) *output++ = end(rescale, c + i, sums[i]);
    }
  }
}

NARROW_DEFINE_ENDS(narrow_fully_connected_dsp,
                   (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                    const int32_t *weights, const int8_t *input, int8_t *output),
                   fully_connected_dsp(rows, depth, channels, rescale, weights, input, output, end))
