/* SPDX-License-Identifier: Apache-2.0 */
#include "narrow_rescale.h"
#include "narrow_v6m.h"

/* Adds the products of depth4 steps to the accumulators of 2 channels.
 *
 * depth4: a multiple of 4, at least 4. columns: [depth4] inputs. weights: see narrow_kernels.h. sums: [2]. */
#if NARROW_V6M_LOOPS

NARROW_C void narrow_fully_connected_v6m_sums(int32_t depth4, const int32_t *columns, const int32_t *weights,
                                              int32_t sums[2]);

/* r0, r1 point to columns and weights, r6, r7 are the sums. */
__asm__(NARROW_ASSEMBLY_BEGIN("narrow_fully_connected_v6m_sums")
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
        NARROW_ASSEMBLY_END("narrow_fully_connected_v6m_sums"));

#else

static void narrow_fully_connected_v6m_sums(int32_t depth4, const int32_t *columns, const int32_t *weights,
                                            int32_t sums[2]) {
  for (int32_t i = 0; i < depth4; i += 2, ++weights) {
    for (int32_t c = 0; c < 2; ++c) {
      sums[c] += columns[i] * (int8_t)((uint32_t)*weights >> (8 * c));
      sums[c] += columns[i + 1] * (int8_t)((uint32_t)*weights >> (16 + 8 * c));
    }
  }
}

#endif

static NARROW_INLINE void fully_connected_v6m(int32_t rows, int32_t depth, int32_t channels,
                                              const narrow_rescale *rescale, const int32_t *weights,
                                              const int8_t *input, int8_t *output, int8_t *scratch,
                                              narrow_end end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  rescale = &own_rescale;
  const int32_t depth4 = (depth + 3) & ~3;
  int32_t *const columns = (int32_t *)(void *)scratch;
  for (int32_t i = depth; i < depth4; ++i) columns[i] = 0;
  for (int32_t row = 0; row < rows; ++row, input += depth, output += channels) {
    const int32_t *w = (const int32_t *)weights;
    for (int32_t i = 0; i < depth; ++i) columns[i] = input[i];
    for (int32_t c = 0; c < channels; c += 2, w += depth4 / 2) {
      int32_t sums[2];
      sums[0] = rescale->start[c];
      sums[1] = rescale->start[c + 1];
      narrow_fully_connected_v6m_sums(depth4, columns, w, sums);
      output[c] = narrow_finish(end, rescale, c, sums[0]);
      output[c + 1] = narrow_finish(end, rescale, c + 1, sums[1]);
    }
  }
}

NARROW_DEFINE_ENDS(narrow_fully_connected_v6m,
                   (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                    const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch),
                   fully_connected_v6m(rows, depth, channels, rescale, weights, input, output, scratch, end))
