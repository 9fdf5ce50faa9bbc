#include "narrow_window.h"

/* Tiles of 2 pixels and 2 channels for ARMv6-M, which has one 32-bit product at a time.
 *
 * Two pixels share a product: with X = x0 + 2^16 * x1, w * X is w * x0 + 2^16 * (w * x1). The sum of two such products
 * splits exactly into its halves while the lower one is an int16, |w x0 + w' x0'| <= 128 * (|w| + |w'|) < 2^15: for
 * this, |w| + |w'| <= 255 is needed of neighbours in depth. */

/* Adds the products of depth4 steps to 4 accumulators: pixels 0, 1 of channel A, then of B.
 *
 * depth4: a multiple of 4, at least 4. columns: [depth4], x0 + 2^16 * x1. sums: [4].
 * weights: [depth4 / 2] words (A k, B k, A k + 1, B k + 1), lowest byte first. */
#if defined(__ARM_ARCH_6M__) && defined(__GNUC__) && !defined(NARROW_NO_V6M)

void narrow_conv_2d_v6m_sums(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[4]);

/* 27 cycles for 8 products on a Cortex-M0+. r0, r1 point to columns and weights, r8-r11 are the sums. */
#define STEP                \
  "ldm    r1!, {r2}\n\t"    \
  "ldm    r0!, {r3, r4}\n\t" \
  "sxtb   r6, r2\n\t"       \
  "muls   r6, r3, r6\n\t"   \
  "lsls   r5, r2, #8\n\t"   \
  "asrs   r5, r5, #24\n\t"  \
  "muls   r5, r4, r5\n\t"   \
  "adds   r6, r6, r5\n\t"   \
  "lsls   r7, r2, #16\n\t"  \
  "asrs   r7, r7, #24\n\t"  \
  "muls   r7, r3, r7\n\t"   \
  "asrs   r5, r2, #24\n\t"  \
  "muls   r5, r4, r5\n\t"   \
  "adds   r7, r7, r5\n\t"   \
  "sxth   r5, r6\n\t"       \
  "add    r8, r5\n\t"       \
  "subs   r6, r6, r5\n\t"   \
  "asrs   r6, r6, #16\n\t"  \
  "add    r9, r6\n\t"       \
  "sxth   r5, r7\n\t"       \
  "add    r10, r5\n\t"      \
  "subs   r7, r7, r5\n\t"   \
  "asrs   r7, r7, #16\n\t"  \
  "add    r11, r7\n\t"

__asm__(
    ".syntax unified\n\t"
    ".section .text.narrow_conv_2d_v6m_sums, \"ax\", %progbits\n\t"
    ".align 2\n\t"
    ".global narrow_conv_2d_v6m_sums\n\t"
    ".type narrow_conv_2d_v6m_sums, %function\n\t"
    ".thumb_func\n"
    "narrow_conv_2d_v6m_sums:\n\t"
    "push   {r4-r7, lr}\n\t"
    "mov    r4, r8\n\t"
    "mov    r5, r9\n\t"
    "mov    r6, r10\n\t"
    "mov    r7, r11\n\t"
    "push   {r3-r7}\n\t"
    "lsls   r0, r0, #2\n\t"
    "adds   r0, r0, r1\n\t"
    "mov    r12, r0\n\t" /* the end of the columns */
    "movs   r0, r1\n\t"
    "movs   r1, r2\n\t"
    "ldm    r3!, {r4-r7}\n\t"
    "mov    r8, r4\n\t"
    "mov    r9, r5\n\t"
    "mov    r10, r6\n\t"
    "mov    r11, r7\n"
    "1:\n\t" STEP STEP
    "cmp    r0, r12\n\t"
    "bne    1b\n\t"
    "ldr    r3, [sp]\n\t"
    "mov    r4, r8\n\t"
    "mov    r5, r9\n\t"
    "mov    r6, r10\n\t"
    "mov    r7, r11\n\t"
    "stm    r3!, {r4-r7}\n\t"
    "pop    {r3-r7}\n\t"
    "mov    r8, r4\n\t"
    "mov    r9, r5\n\t"
    "mov    r10, r6\n\t"
    "mov    r11, r7\n\t"
    "pop    {r4-r7, pc}\n\t"
    ".size narrow_conv_2d_v6m_sums, . - narrow_conv_2d_v6m_sums\n\t"
    ".text\n");

#else

/* Byte i of a word. */
static NARROW_INLINE int32_t weight(int32_t word, int32_t i) { return (int8_t)((uint32_t)word >> (8 * i)); }

static void narrow_conv_2d_v6m_sums(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[4]) {
  for (int32_t i = 0; i < depth4; i += 2, ++weights) {
    for (int32_t c = 0; c < 2; ++c) {
      const int32_t both = columns[i] * weight(*weights, c) + columns[i + 1] * weight(*weights, 2 + c);
      const int32_t low = (int16_t)both;
      sums[2 * c] += low;
      sums[2 * c + 1] += (both - low) >> 16;
    }
  }
}

#endif

/* The first pixel of a pair makes a column, the second one joins it. The rest up to depth4 has weights of 0. */
static NARROW_INLINE void fill_column(const int8_t *from, int32_t depth, int32_t second, int32_t *column) {
  if (second != 0) {
    for (int32_t i = 0; i < depth; ++i) column[i] += from[i] * (1 << 16);
  } else {
    for (int32_t i = 0; i < depth; ++i) column[i] = from[i];
  }
}

static NARROW_INLINE void tile(int32_t depth4, int32_t channels, const narrow_rescale *rescale, const int32_t *weights,
                               const int32_t *columns, int32_t count, int8_t *output, narrow_end *end) {
  int8_t *const next = output + (count - 1) * channels; /* the same pixel again where there is no second one */
  for (int32_t c = 0; c < channels; c += 2, weights += depth4 / 2) {
    int32_t sums[4];
    sums[0] = sums[1] = rescale->start[c];
    sums[2] = sums[3] = rescale->start[c + 1];
    narrow_conv_2d_v6m_sums(depth4, columns, weights, sums);
    next[c] = end(rescale, c, sums[1]);
    next[c + 1] = end(rescale, c + 1, sums[3]);
    output[c] = end(rescale, c, sums[0]);
    output[c + 1] = end(rescale, c + 1, sums[2]);
  }
}

static NARROW_INLINE void conv_2d_v6m(const narrow_window *window, const narrow_rescale *rescale,
                                      const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch,
                                      narrow_end *end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t image = window->input_height * window->input_width * window->input_channels;
  const int32_t depth = window->kernel_height * window->kernel_width * window->input_channels;
  const int32_t depth4 = (depth + 3) & ~3;
  const int32_t channels = window->output_channels;
  /* Of one pixel each, all inside: no need to gather. */
  const int pointwise = window->kernel_height * window->kernel_width == 1 && window->pad_top + window->pad_left == 0;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int8_t *const patch = scratch + 4 * depth4;
  int32_t count = 0;
  for (int32_t i = depth; i < depth4; ++i) columns[i] = 0;
  for (int32_t batch = 0; batch < window->batches; ++batch, input += image) {
    int32_t top = -window->pad_top;
    for (int32_t y = 0; y < window->output_height; ++y, top += window->stride_height) {
      int32_t left = -window->pad_left;
      for (int32_t x = 0; x < window->output_width; ++x, left += window->stride_width) {
        const int8_t *from = patch;
        if (pointwise) {
          from = input + (top * window->input_width + left) * window->input_channels;
        } else {
          narrow_gather(window, input, top, left, patch);
        }
        fill_column(from, depth, count, columns);
        if (++count == 2) {
          tile(depth4, channels, rescale, weights, columns, 2, output, end);
          output += 2 * channels;
          count = 0;
        }
      }
    }
  }
  if (count != 0) tile(depth4, channels, rescale, weights, columns, 1, output, end);
}

void narrow_conv_2d_v6m_shift(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                              const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_v6m(window, rescale, weights, input, output, scratch, narrow_end_shift);
}

void narrow_conv_2d_v6m_multiply(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                                 const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_v6m(window, rescale, weights, input, output, scratch, narrow_end_multiply);
}

void narrow_conv_2d_v6m_wide(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                             const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_v6m(window, rescale, weights, input, output, scratch, narrow_end_wide);
}

void narrow_conv_2d_v6m_stock(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                              const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_v6m(window, rescale, weights, input, output, scratch, narrow_end_stock);
}
