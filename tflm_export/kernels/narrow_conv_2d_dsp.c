#include "narrow_dsp.h"
#include "narrow_window.h"

/* Tiles of 4 pixels and 2 channels: 8 accumulators, and per two steps of depth one word of weights and four of inputs.
 *
 * A word of weights holds (A k, B k, A k', B k') for channels A and B, so that two SXTB16 unpack both. k and k' are 0
 * and 2, then 1 and 3 of every four, which is the order that SXTB16 brings the inputs into. */

/* Widens `depth4` bytes of one pixel, a multiple of 4, into every fourth word. */
static NARROW_INLINE void widen(const int8_t *from, int32_t depth4, int32_t *column) {
  for (int32_t i = 0; i < depth4; i += 4, column += 8) {
    const int32_t x = narrow_load(from + i);
    column[0] = narrow_even(x);
    column[4] = narrow_odd(x);
  }
}

/* Adds the products of depth4 steps to 8 accumulators: pixels 0..3 of channel A, then of B.
 *
 * depth4: a multiple of 4, at least 4. columns: [depth4 / 2, 4 pixels]. weights: [depth4 / 2].
 * sums: on entry [0] and [1] hold where the accumulators of A and B begin; on return all 8. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(NARROW_NO_DSP)

void narrow_conv_2d_dsp_sums(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[8]);

/* 17 cycles for 16 products on a Cortex-M4: loads in a row take one cycle each but the first. Compilers need about
 * 30, for want of a register: here r4-r11 are the sums, r1 and r2 the pointers, the rest unpacks, and the end is on
 * the stack. */
#define STEP                    \
  "ldr    r3, [r2], #4\n\t"     \
  "ldr    r0, [r1], #16\n\t"    \
  "ldr    lr, [r1, #-12]\n\t"   \
  "sxtb16 r12, r3\n\t"          \
  "sxtb16 r3, r3, ror #8\n\t"   \
  "smlad  r4, r0, r12, r4\n\t"  \
  "smlad  r8, r0, r3, r8\n\t"   \
  "smlad  r5, lr, r12, r5\n\t"  \
  "smlad  r9, lr, r3, r9\n\t"   \
  "ldr    r0, [r1, #-8]\n\t"    \
  "ldr    lr, [r1, #-4]\n\t"    \
  "smlad  r6, r0, r12, r6\n\t"  \
  "smlad  r10, r0, r3, r10\n\t" \
  "smlad  r7, lr, r12, r7\n\t"  \
  "smlad  r11, lr, r3, r11\n\t"

__asm__(
    ".syntax unified\n\t"
    ".section .text.narrow_conv_2d_dsp_sums, \"ax\", %progbits\n\t"
    ".align 2\n\t"
    ".global narrow_conv_2d_dsp_sums\n\t"
    ".type narrow_conv_2d_dsp_sums, %function\n\t"
    ".thumb_func\n"
    "narrow_conv_2d_dsp_sums:\n\t"
    "push   {r4-r11, lr}\n\t"
    "ldr    r4, [r3]\n\t"
    "ldr    r8, [r3, #4]\n\t"
    "add    r12, r1, r0, lsl #3\n\t" /* the end of the columns */
    "and    lr, r0, #4\n\t"
    "sub    lr, r12, lr, lsl #3\n\t" /* the end of their whole eights */
    "push   {r3, r12, lr}\n\t"
    "mov    r5, r4\n\t"
    "mov    r6, r4\n\t"
    "mov    r7, r4\n\t"
    "mov    r9, r8\n\t"
    "mov    r10, r8\n\t"
    "mov    r11, r8\n\t"
    "cmp    r1, lr\n\t"
    "beq    2f\n"
    "1:\n\t" STEP STEP STEP STEP
    "ldr    r0, [sp, #8]\n\t"
    "cmp    r1, r0\n\t"
    "bne    1b\n"
    "2:\n\t"
    "ldr    r0, [sp, #4]\n\t"
    "cmp    r1, r0\n\t"
    "beq    3f\n\t" STEP STEP
    "3:\n\t"
    "ldr    r0, [sp]\n\t"
    "stm    r0, {r4-r11}\n\t"
    "add    sp, sp, #12\n\t"
    "pop    {r4-r11, pc}\n\t"
    ".size narrow_conv_2d_dsp_sums, . - narrow_conv_2d_dsp_sums\n\t"
    ".text\n");

#else

static void narrow_conv_2d_dsp_sums(int32_t depth4, const int32_t *columns, const int32_t *weights, int32_t sums[8]) {
  const int32_t a = sums[0], b = sums[1];
  for (int32_t i = 0; i < 8; ++i) sums[i] = i < 4 ? a : b;
  for (const int32_t *const end = weights + depth4 / 2; weights < end; ++weights, columns += 4) {
    for (int32_t i = 0; i < 4; ++i) {
      sums[i] = narrow_mac2(columns[i], narrow_even(*weights), sums[i]);
      sums[4 + i] = narrow_mac2(columns[i], narrow_odd(*weights), sums[4 + i]);
    }
  }
}

#endif

/* columns: [depth4 / 2, 4 pixels]; the first `count` pixels are stored, 1..4. */
static NARROW_INLINE void tile(int32_t depth4, int32_t channels, const narrow_rescale *rescale, const int32_t *weights,
                               const int32_t *columns, int32_t count, int8_t *output, narrow_end *end) {
  for (int32_t c = 0; c < channels; c += 2, output += 2, weights += depth4 / 2) {
    int32_t sums[8];
    sums[0] = rescale->start[c];
    sums[1] = rescale->start[c + 1];
    narrow_conv_2d_dsp_sums(depth4, columns, weights, sums);
    int8_t *pixel = output;
    for (int32_t i = 0; i < count; ++i, pixel += channels) {
      pixel[0] = end(rescale, c, sums[i]);
      pixel[1] = end(rescale, c + 1, sums[4 + i]);
    }
  }
}

static NARROW_INLINE void conv_2d_dsp(const narrow_window *window, const narrow_rescale *rescale,
                                      const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch,
                                      narrow_end *end) {
  /* Copies that no store through an int8_t pointer can reach, so that compilers keep them in registers. */
  const narrow_rescale own_rescale = *rescale;
  const narrow_window own_window = *window;
  window = &own_window;
  rescale = &own_rescale;
  const int32_t image = window->input_height * window->input_width * window->input_channels;
  const int32_t row = window->kernel_width * window->input_channels;
  const int32_t depth4 = (window->kernel_height * row + 3) & ~3;
  const int32_t channels = window->output_channels;
  /* Of one pixel each, all inside: no need to gather. */
  const int pointwise = window->kernel_height * window->kernel_width == 1 && depth4 == row &&
                        window->pad_top + window->pad_left == 0;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int8_t *const patch = scratch + 8 * depth4;
  int32_t count = 0;
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
        widen(from, depth4, columns + count);
        if (++count == 4) {
          tile(depth4, channels, rescale, weights, columns, 4, output, end);
          output += 4 * channels;
          count = 0;
        }
      }
    }
  }
  if (count != 0) tile(depth4, channels, rescale, weights, columns, count, output, end);
}

void narrow_conv_2d_dsp_shift(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                             const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_dsp(window, rescale, weights, input, output, scratch, narrow_end_shift);
}

void narrow_conv_2d_dsp_multiply(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                                const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_dsp(window, rescale, weights, input, output, scratch, narrow_end_multiply);
}

void narrow_conv_2d_dsp_wide(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                            const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_dsp(window, rescale, weights, input, output, scratch, narrow_end_wide);
}

void narrow_conv_2d_dsp_stock(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                             const int8_t *input, int8_t *output, int8_t *scratch) {
  conv_2d_dsp(window, rescale, weights, input, output, scratch, narrow_end_stock);
}
