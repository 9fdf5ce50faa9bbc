/* SPDX-License-Identifier: Apache-2.0 */
/* Dense layers for ARMv6-M, and ARMv7-M without DSP. NARROW_DENSE_V6M(name, form) defines NAME_shift to NAME_stock, see
 * narrow_dense_v6m in narrow_kernels.h, for one form of weights: EACH or LANES of narrow_conv_2d_tiles_dsp.h. */
#ifndef NARROW_DENSE_V6M_H
#define NARROW_DENSE_V6M_H

#include "narrow_bytes.h"
#include "narrow_rescale.h"
#include "narrow_v6m.h"

/* NAME_sums adds the products of depth4 inputs to the sums of 4 channels.
 *
 * depth4: a multiple of 4, at least 4. columns: [depth4] inputs. weights: [depth4 / 2, 2], see narrow_kernels.h. */
#if NARROW_V6M_LOOPS

/* Two inputs, in r3 and r4, times two weights each of two channels, in `word`, which is lost, and so is r5. */
#define NARROW_DENSE_V6M_EACH(a, b, word) \
  "sxtb r5, " word "\n\t"                 \
  "muls r5, r3, r5\n\t"                   \
  "add  " a ", r5\n\t"                    \
  "lsls r5, " word ", #16\n\t"            \
  "asrs r5, r5, #24\n\t"                  \
  "muls r5, r3, r5\n\t"                   \
  "add  " b ", r5\n\t"                    \
  "lsls r5, " word ", #8\n\t"             \
  "asrs r5, r5, #24\n\t"                  \
  "muls r5, r4, r5\n\t"                   \
  "add  " a ", r5\n\t"                    \
  "asrs " word ", " word ", #24\n\t"      \
  "muls " word ", r4, " word "\n\t"       \
  "add  " b ", " word "\n\t"
#define NARROW_DENSE_V6M_LANES(a, b, word) \
  "sxtb r5, " word "\n\t"                  \
  "muls r5, r3, r5\n\t"                    \
  "add  " a ", r5\n\t"                     \
  "sxth r5, " word "\n\t"                  \
  "muls r5, r3, r5\n\t"                    \
  "add  " b ", r5\n\t"                     \
  "asrs " word ", " word ", #16\n\t"       \
  "sxtb r5, " word "\n\t"                  \
  "muls r5, r4, r5\n\t"                    \
  "add  " a ", r5\n\t"                     \
  "muls " word ", r4, " word "\n\t"        \
  "add  " b ", " word "\n\t"

/* 8 products: 30 cycles of LANES on a Cortex-M0+, 34 of EACH. */
#define NARROW_DENSE_V6M_STEP(form) \
  "ldm  r1!, {r2, r6}\n\t"          \
  "ldm  r0!, {r3, r4}\n\t" NARROW_DENSE_V6M_##form("r8", "r9", "r2") NARROW_DENSE_V6M_##form("r10", "r11", "r6")

/* The sum of a pair's second channel from that with the first one's in it. */
#define NARROW_DENSE_V6M_PART_EACH(a, b)
#define NARROW_DENSE_V6M_PART_LANES(a, b) \
  "subs " b ", " b ", " a "\n\t"          \
  "asrs " b ", " b ", #8\n\t"

/* r0: columns, r1: weights, r8-r11: sums, r12: end of the columns. */
#define NARROW_DENSE_V6M_SUMS(name, form)                                                                      \
  NARROW_C void name(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[4]);         \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                         \
          NARROW_V6M_SAVE                                                                                      \
          "push {r3}\n\t"                                                                                      \
          "lsls r0, r0, #2\n\t"                                                                                \
          "adds r0, r0, r1\n\t"                                                                                \
          "mov  r12, r0\n\t"                                                                                   \
          "movs r0, r1\n\t"                                                                                    \
          "movs r1, r2\n\t"                                                                                    \
          "ldm  r3!, {r4-r7}\n\t"                                                                              \
          "mov  r8, r4\n\t"                                                                                    \
          "mov  r9, r5\n\t"                                                                                    \
          "mov  r10, r6\n\t"                                                                                   \
          "mov  r11, r7\n"                                                                                     \
          "1:\n\t"                                                                                             \
          "mov  r2, r12\n\t"                                                                                   \
          "subs r2, r2, r0\n\t"                                                                                \
          "lsls r2, r2, #26\n\t"                                                                               \
          "beq  2f\n\t" NARROW_DENSE_V6M_STEP(form) /* until whole sixteens are left */                        \
          "b    1b\n"                                                                                          \
          "2:\n\t"                                                                                             \
          "cmp  r0, r12\n\t"                                                                                   \
          "bne  3f\n\t"                                                                                        \
          "b    4f\n"                                                                                          \
          "3:\n\t"                                                                                             \
          ".rept 8\n\t" NARROW_DENSE_V6M_STEP(form)                                                            \
          ".endr\n\t"                                                                                          \
          "cmp  r0, r12\n\t"                                                                                   \
          "beq  4f\n\t"                                                                                        \
          "b    3b\n"                                                                                          \
          "4:\n\t"                                                                                             \
          "pop  {r3}\n\t"                                                                                      \
          "mov  r4, r8\n\t"                                                                                    \
          "mov  r5, r9\n\t"                                                                                    \
          "mov  r6, r10\n\t"                                                                                   \
          "mov  r7, r11\n\t" NARROW_DENSE_V6M_PART_##form("r4", "r5") NARROW_DENSE_V6M_PART_##form("r6", "r7") \
          "stm  r3!, {r4-r7}\n\t"                                                                              \
          NARROW_V6M_RETURN                                                                                    \
          NARROW_ASSEMBLY_END(#name));

#else

typedef enum { NARROW_DENSE_V6M_EACH, NARROW_DENSE_V6M_LANES } narrow_dense_v6m_form;

/* Two inputs times two weights each of two channels, added to their sums, which wrap. */
static NARROW_INLINE void narrow_dense_v6m_step(narrow_dense_v6m_form form, const int32_t *x, const int32_t *word,
                                                uint32_t *a, uint32_t *b) {
  const int is_each = form == NARROW_DENSE_V6M_EACH;
  *a += (uint32_t)(x[0] * narrow_byte(word, 0));
  *b += (uint32_t)(x[0] * (is_each ? narrow_byte(word, 1) : narrow_half(word, 0)));
  *a += (uint32_t)(x[1] * narrow_byte(word, 2));
  *b += (uint32_t)(x[1] * (is_each ? narrow_byte(word, 3) : narrow_half(word, 1)));
}

/* Where a byte is loaded with its sign, as on RISC-V, a product takes a load, a MUL and an addition, and a quarter of
 * the load of an input. */
static NARROW_INLINE void narrow_dense_v6m_sums(narrow_dense_v6m_form form, int32_t depth4, const int32_t *columns,
                                                const int32_t *weights, int32_t sums[4]) {
  uint32_t a = (uint32_t)sums[0], b = (uint32_t)sums[1], c = (uint32_t)sums[2], d = (uint32_t)sums[3];
  for (const int32_t *const end = columns + depth4; columns < end; columns += 4, weights += 4) {
    narrow_dense_v6m_step(form, columns, weights, &a, &b);
    narrow_dense_v6m_step(form, columns, weights + 1, &c, &d);
    narrow_dense_v6m_step(form, columns + 2, weights + 2, &a, &b);
    narrow_dense_v6m_step(form, columns + 2, weights + 3, &c, &d);
  }
  sums[0] = (int32_t)a;
  sums[1] = form == NARROW_DENSE_V6M_LANES ? (int32_t)(b - a) >> 8 : (int32_t)b;
  sums[2] = (int32_t)c;
  sums[3] = form == NARROW_DENSE_V6M_LANES ? (int32_t)(d - c) >> 8 : (int32_t)d;
}

#define NARROW_DENSE_V6M_SUMS(name, form)                                                             \
  static void name(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[4]) { \
    narrow_dense_v6m_sums(NARROW_DENSE_V6M_##form, depth4, columns, weights, sums);                   \
  }

#endif

typedef void narrow_dense_v6m_loop(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[4]);

static NARROW_INLINE void narrow_dense_v6m_rows(int32_t rows, int32_t depth, int32_t channels,
                                                const narrow_rescale *rescale, const int32_t *weights,
                                                const int8_t *input, int8_t *output, int8_t *scratch,
                                                narrow_dense_v6m_loop *loop, narrow_end end) {
  const narrow_rescale own = *rescale; /* which no store through an int8_t pointer can reach */
  const int32_t depth4 = (depth + 3) & ~3;
  int32_t *const columns = (int32_t *)(void *)scratch;
  for (int32_t i = depth; i < depth4; ++i) columns[i] = 0;
  for (int32_t row = 0; row < rows; ++row, input += depth, output += channels) {
    const int32_t *w = weights;
    for (int32_t i = 0; i < depth; ++i) columns[i] = input[i];
    for (int32_t c = 0; c < channels; c += 4, w += depth4) {
      int32_t sums[4];
      for (int32_t i = 0; i < 4; ++i) sums[i] = own.start[c + i];
      loop(depth4, columns, w, sums);
      for (int32_t i = 0; i < 4 && c + i < channels; ++i) output[c + i] = narrow_finish(end, &own, c + i, sums[i]);
    }
  }
}

#define NARROW_DENSE_V6M(name, form)                                                                        \
  NARROW_DENSE_V6M_SUMS(name##_sums, form)                                                                  \
  NARROW_DEFINE_ENDS(name,                                                                                  \
                     (int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,         \
                      const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch),        \
                     narrow_dense_v6m_rows(rows, depth, channels, rescale, weights, input, output, scratch, \
                                           name##_sums, end))

#endif
