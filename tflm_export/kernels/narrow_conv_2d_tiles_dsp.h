/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution in tiles of 2 to 4 pixels and 2 channels, for cores with the DSP extension: 16 cycles for 16 products.
 *
 * Inputs are widened once to pairs of int16. A word of weights holds those of two channels A and B for two inputs k and
 * k', in one of two forms:
 *
 *   EACH   four bytes, lowest first: A k, B k, A k', B k'. Two SXTB16 unpack both channels.
 *   LANES  two int16, lowest first: 256 * B k + A k, 256 * B k' + A k'. One SXTB16 unpacks A; B is multiplied as it is,
 *          and A with it: that sum is A's and 256 times B's. Their difference is exact modulo 2^32, so B's sum is what
 *          it says if that is within 2^23, whatever the sums on the way. lanes_hold of c/dsp_weights.py proves it.
 *
 * NARROW_CONV_2D_TILES_DSP(name, end, form, tile, height, loops, unrolled, rest, second, third, fourth, channels,
 * pixel, channel) makes a narrow_tile_kernel:
 *
 *   end      SHIFT, MULTIPLY or STOCK (folded): int8 outputs; SUM: int32 sums [channels, tile], whatever pixel and
 *            channel.
 *   form     of the weights, EACH or LANES.
 *   tile     pixels, 2 to 4.
 *   height   rows of the kernel.
 *   loops, unrolled, rest  words of inputs in a row under the window of one pixel: loops * unrolled + rest.
 *   second, third, fourth  bytes from the inputs of the first pixel to those of the others, at most 4095.
 *   channels  2 or more.
 *   pixel, channel  bytes from output to output, (tile - 1) * pixel at most 4095, channel at most 32767.
 *
 * weights: see narrow_tiles.h. Of LANES, B starts where both do together, A + 256 * B, and before a shift alone (SHIFT)
 * its shift is 8 more, at most 31. */
#ifndef NARROW_CONV_2D_TILES_DSP_H
#define NARROW_CONV_2D_TILES_DSP_H

#include "narrow_assembly.h"
#include "narrow_dsp.h"
#include "narrow_tiles.h"

#if NARROW_DSP_LOOPS

/* r1: inputs, r2: weights and all else in the order of its use, r4-r7: sums of A, r8-r11: of B, r0, r3, r12, lr: all
 * else; of fewer than four pixels r7, too, and r11 is the end of the loop.
 * Stack: 0 inputs, or rows of them, 4 output, 8 end of the weights, 12 the row at hand, 16 end of the loop. */
#define NARROW_TILE_UNPACK_EACH \
  "sxtb16 r12, r3\n\t"          \
  "sxtb16 r3, r3, ror #8\n\t"
#define NARROW_TILE_UNPACK_LANES "sxtb16 r12, r3\n\t"

#define NARROW_TILE_MAC(a, b, x)        \
  "smlad  " a ", " x ", r12, " a "\n\t" \
  "smlad  " b ", " x ", r3, " b "\n\t"

/* 16 cycles of LANES, 17 of EACH. */
#define NARROW_TILE_STEP_4(form, second, third, fourth)                                         \
  "ldr    r3, [r2], #4\n\t"                                                                     \
  "ldr    r0, [r1, #" second "]\n\t"                                                            \
  "ldr    lr, [r1, #" third "]\n\t" NARROW_TILE_UNPACK_##form NARROW_TILE_MAC("r5", "r9", "r0") \
  NARROW_TILE_MAC("r6", "r10", "lr")                                                            \
  "ldr    r0, [r1, #" fourth "]\n\t"                                                            \
  "ldr    lr, [r1], #4\n\t" NARROW_TILE_MAC("r7", "r11", "r0") NARROW_TILE_MAC("r4", "r8", "lr")

/* 12 and 13. */
#define NARROW_TILE_STEP_3(form, second, third, fourth)                                 \
  "ldr    r3, [r2], #4\n\t"                                                             \
  "ldr    r0, [r1, #" second "]\n\t"                                                    \
  "ldr    lr, [r1, #" third "]\n\t"                                                     \
  "ldr    r7, [r1], #4\n\t" NARROW_TILE_UNPACK_##form NARROW_TILE_MAC("r5", "r9", "r0") \
  NARROW_TILE_MAC("r6", "r10", "lr") NARROW_TILE_MAC("r4", "r8", "r7")

/* 9 and 10. */
#define NARROW_TILE_STEP_2(form, second, third, fourth)                                 \
  "ldr    r3, [r2], #4\n\t"                                                             \
  "ldr    r0, [r1, #" second "]\n\t"                                                    \
  "ldr    lr, [r1], #4\n\t" NARROW_TILE_UNPACK_##form NARROW_TILE_MAC("r5", "r9", "r0") \
  NARROW_TILE_MAC("r4", "r8", "lr")

/* What only tiles of more pixels have. */
#define NARROW_TILE_ABOVE(pixels, tile, text) ".if " tile " > " #pixels "\n\t" text ".endif\n\t"

/* OP(sum, x, y) of every sum of A, of B. */
#define NARROW_TILE_ALL_A(tile, OP, x, y) \
  OP("r4", x, y) OP("r5", x, y) NARROW_TILE_ABOVE(2, tile, OP("r6", x, y)) NARROW_TILE_ABOVE(3, tile, OP("r7", x, y))
#define NARROW_TILE_ALL_B(tile, OP, x, y)                                   \
  OP("r8", x, y) OP("r9", x, y) NARROW_TILE_ABOVE(2, tile, OP("r10", x, y)) \
  NARROW_TILE_ABOVE(3, tile, OP("r11", x, y))

#define NARROW_TILE_COPY(sum, from, unused) "mov  " sum ", " from "\n\t"
#define NARROW_TILE_SHIFTED(sum, shift, unused) \
  "asrs " sum ", " sum ", " shift "\n\t"        \
  "ssat " sum ", #8, " sum "\n\t"
#define NARROW_TILE_SCALED(sum, multiplier, fold) "mla  " sum ", " sum ", " multiplier ", " fold "\n\t"

/* Twice the sum times the multiplier, its upper word rounded, and the fold, less 1 for negative sums. */
#define NARROW_TILE_DOUBLED(sum, x, y) "lsls " sum ", " sum ", #1\n\t"
#define NARROW_TILE_STOCK_SCALED(sum, multiplier, fold) \
  "add  lr, " fold ", " sum ", asr #31\n\t"             \
  "smmlar " sum ", " sum ", " multiplier ", lr\n\t"

/* 256 times the sums of B alone from those with A in them; then themselves, and twice themselves. */
#define NARROW_TILE_PART_EACH(tile)
#define NARROW_TILE_PART_LANES(tile)                                        \
  "subs r8, r8, r4\n\t"                                                     \
  "subs r9, r9, r5\n\t" NARROW_TILE_ABOVE(2, tile, "subs r10, r10, r6\n\t") \
  NARROW_TILE_ABOVE(3, tile, "subs r11, r11, r7\n\t")
#define NARROW_TILE_BY_256(sum, x, y) "asrs " sum ", " sum ", #8\n\t"
#define NARROW_TILE_BY_128(sum, x, y) "asrs " sum ", " sum ", #7\n\t"
#define NARROW_TILE_B_EACH(tile)
#define NARROW_TILE_B_LANES(tile) NARROW_TILE_ALL_B(tile, NARROW_TILE_BY_256, , )
#define NARROW_TILE_TWICE_B_EACH(tile) NARROW_TILE_ALL_B(tile, NARROW_TILE_DOUBLED, , )
#define NARROW_TILE_TWICE_B_LANES(tile) NARROW_TILE_ALL_B(tile, NARROW_TILE_BY_128, , )

/* r3: output and the next one's, r0: end of the weights. */
#define NARROW_TILE_STORE(tile, pixel, channel)                                                  \
  "strb r4, [r3]\n\t"                                                                            \
  "strb r5, [r3, #" pixel "]\n\t" NARROW_TILE_ABOVE(2, tile, "strb r6, [r3, #2*" pixel "]\n\t")  \
  NARROW_TILE_ABOVE(3, tile, "strb r7, [r3, #3*" pixel "]\n\t")                                  \
  ".if " channel " + (" tile " - 1) * " pixel " > 4095\n\t"                                      \
  "movw lr, #" channel "\n\t"                                                                    \
  "adds r3, r3, lr\n\t"                                                                          \
  "strb r8, [r3]\n\t"                                                                            \
  "strb r9, [r3, #" pixel "]\n\t" NARROW_TILE_ABOVE(2, tile, "strb r10, [r3, #2*" pixel "]\n\t") \
  NARROW_TILE_ABOVE(3, tile, "strb r11, [r3, #3*" pixel "]\n\t")                                 \
  "adds r3, r3, lr\n\t"                                                                          \
  ".else\n\t"                                                                                    \
  "strb r8, [r3, #" channel "]\n\t"                                                              \
  "strb r9, [r3, #" channel "+" pixel "]\n\t"                                                    \
  NARROW_TILE_ABOVE(2, tile, "strb r10, [r3, #" channel "+2*" pixel "]\n\t")                     \
  NARROW_TILE_ABOVE(3, tile, "strb r11, [r3, #" channel "+3*" pixel "]\n\t")                     \
  ".if " channel " > 2047\n\t"                                                                   \
  "movw lr, #2*" channel "\n\t"                                                                  \
  "adds r3, r3, lr\n\t"                                                                          \
  ".else\n\t"                                                                                    \
  "addw r3, r3, #2*" channel "\n\t"                                                              \
  ".endif\n\t"                                                                                   \
  ".endif\n\t"

#define NARROW_TILE_END(tile, pixel, channel)                                     \
  "ldr  r12, [r2], #4\n\t" /* both shifts; shifting reads a byte of a register */ \
  "ldr  r3, [sp, #4]\n\t"                                                         \
  "ldr  r0, [sp, #8]\n\t"                                                         \
  "lsrs lr, r12, #8\n\t" NARROW_TILE_ALL_A(tile, NARROW_TILE_SHIFTED, "r12", )    \
  NARROW_TILE_ALL_B(tile, NARROW_TILE_SHIFTED, "lr", ) NARROW_TILE_STORE(tile, pixel, channel)

#define NARROW_TILE_FINISH_SHIFT(form, tile, pixel, channel) \
  NARROW_TILE_PART_##form(tile) NARROW_TILE_END(tile, pixel, channel)

#define NARROW_TILE_FINISH_MULTIPLY(form, tile, pixel, channel)                                                    \
  "ldm  r2!, {r0, r1, r3, r12}\n\t" NARROW_TILE_PART_##form(tile) NARROW_TILE_B_##form(tile)                       \
  NARROW_TILE_ALL_A(tile, NARROW_TILE_SCALED, "r0", "r3") NARROW_TILE_ALL_B(tile, NARROW_TILE_SCALED, "r1", "r12") \
  NARROW_TILE_END(tile, pixel, channel)

#define NARROW_TILE_FINISH_STOCK(form, tile, pixel, channel)                                                     \
  "ldm  r2!, {r0, r1, r3, r12}\n\t" NARROW_TILE_PART_##form(tile) NARROW_TILE_TWICE_B_##form(tile)               \
  NARROW_TILE_ALL_A(tile, NARROW_TILE_DOUBLED, , ) NARROW_TILE_ALL_A(tile, NARROW_TILE_STOCK_SCALED, "r0", "r3") \
  NARROW_TILE_ALL_B(tile, NARROW_TILE_STOCK_SCALED, "r1", "r12") NARROW_TILE_END(tile, pixel, channel)

#define NARROW_TILE_FINISH_SUM(form, tile, pixel, channel) \
  NARROW_TILE_PART_##form(tile) NARROW_TILE_B_##form(tile) \
  "ldr  r3, [sp, #4]\n\t"                                  \
  "ldr  r0, [sp, #8]\n\t"                                  \
  ".if " tile " > 3\n\t"                                   \
  "stm  r3!, {r4-r11}\n\t"                                 \
  ".elseif " tile " > 2\n\t"                               \
  "stm  r3!, {r4-r6, r8-r10}\n\t"                          \
  ".else\n\t"                                              \
  "stm  r3!, {r4, r5, r8, r9}\n\t"                         \
  ".endif\n\t"

/* Words of a pair behind its weights; bytes from its output to the next one's. */
#define NARROW_TILE_TAIL_SHIFT "1"
#define NARROW_TILE_TAIL_MULTIPLY "5"
#define NARROW_TILE_TAIL_STOCK "5"
#define NARROW_TILE_TAIL_SUM "0"
#define NARROW_TILE_NEXT_SHIFT(tile, channel) channel
#define NARROW_TILE_NEXT_MULTIPLY(tile, channel) channel
#define NARROW_TILE_NEXT_STOCK(tile, channel) channel
#define NARROW_TILE_NEXT_SUM(tile, channel) "4*" tile

#define NARROW_CONV_2D_TILES_DSP(name, end, form, tile, height, loops, unrolled, rest, second, third, fourth,       \
                                 channels, pixel, channel)                                                          \
  NARROW_C narrow_tile_kernel name;                                                                                 \
  __asm__(NARROW_ASSEMBLY_BEGIN(#name)                                                                              \
          ".set narrow_pair, 4*(2+" #height "*(" #loops "*" #unrolled "+" #rest ")+" NARROW_TILE_TAIL_##end ")\n\t" \
          ".set narrow_all, narrow_pair*((" #channels "+1)/2)\n\t"                                                  \
          ".set narrow_loop, 4*" #loops "*" #unrolled "\n\t"                                                        \
          "push {r4-r11, lr}\n\t"                                                                                   \
          "sub  sp, sp, #20\n\t"                                                                                    \
          "movw r3, #(narrow_all & 0xffff)\n\t"                                                                     \
          "movt r3, #(narrow_all >> 16)\n\t"                                                                        \
          "add  r3, r3, r2\n\t"                                                                                     \
          ".if " #height " == 1\n\t"                                                                                \
          "ldr  r0, [r0]\n\t"                                                                                       \
          ".endif\n\t"                                                                                              \
          "str  r0, [sp]\n\t"                                                                                       \
          "str  r1, [sp, #4]\n\t"                                                                                   \
          "str  r3, [sp, #8]\n"                                                                                     \
          "1:\n\t" /* two channels */                                                                               \
          ".if " #height " > 1\n\t"                                                                                 \
          "ldr  r0, [sp]\n\t"                                                                                       \
          "ldr  r4, [r2], #4\n\t"                                                                                   \
          "ldr  r8, [r2], #4\n\t"                                                                                   \
          "ldr  r1, [r0], #4\n\t"                                                                                   \
          ".else\n\t"                                                                                               \
          "ldr  r1, [sp]\n\t"                                                                                       \
          "ldr  r4, [r2], #4\n\t"                                                                                   \
          "ldr  r8, [r2], #4\n\t"                                                                                   \
          ".endif\n\t"                                                                                              \
          "mov  r5, r4\n\t"                                                                                         \
          "mov  r9, r8\n\t" NARROW_TILE_ABOVE(2, #tile, "mov r6, r4\n\tmov r10, r8\n\t")                            \
          NARROW_TILE_ABOVE(3, #tile, "mov r7, r4\n\tmov r11, r8\n\t")                                              \
          "\n2:\n\t" /* a row of the kernel */                                                                      \
          ".if " #height " > 1\n\t"                                                                                 \
          "str  r0, [sp, #12]\n\t"                                                                                  \
          ".endif\n\t"                                                                                              \
          ".if " #loops " > 1\n\t"                                                                                  \
          ".if narrow_loop > 4095\n\t"                                                                              \
          "movw r0, #narrow_loop\n\t"                                                                               \
          "add  r0, r0, r1\n\t"                                                                                     \
          ".else\n\t"                                                                                               \
          "addw r0, r1, #narrow_loop\n\t"                                                                           \
          ".endif\n\t"                                                                                              \
          ".if " #tile " > 3\n\t"                                                                                   \
          "str  r0, [sp, #16]\n\t"                                                                                  \
          ".else\n\t"                                                                                               \
          "mov  r11, r0\n\t"                                                                                        \
          ".endif\n"                                                                                                \
          "3:\n\t"                                                                                                  \
          ".endif\n\t"                                                                                              \
          ".rept " #unrolled "\n\t" NARROW_TILE_STEP_##tile(form, #second, #third, #fourth)                         \
          ".endr\n\t"                                                                                               \
          ".if " #loops " > 1\n\t"                                                                                  \
          ".if " #tile " > 3\n\t"                                                                                   \
          "ldr  r0, [sp, #16]\n\t"                                                                                  \
          "cmp  r1, r0\n\t"                                                                                         \
          ".else\n\t"                                                                                               \
          "cmp  r1, r11\n\t"                                                                                        \
          ".endif\n\t"                                                                                              \
          "bne.w  3b\n\t"                                                                                           \
          ".endif\n\t"                                                                                              \
          ".rept " #rest "\n\t" NARROW_TILE_STEP_##tile(form, #second, #third, #fourth)                             \
          ".endr\n\t"                                                                                               \
          ".if " #height " > 1\n\t"                                                                                 \
          "ldr  r0, [sp, #12]\n\t"                                                                                  \
          "ldr  r1, [r0], #4\n\t"                                                                                   \
          "cmp  r1, #0\n\t" /* rows end with a null pointer */                                                      \
          "bne.w  2b\n\t"                                                                                           \
          ".endif\n\t" NARROW_TILE_FINISH_##end(form, #tile, #pixel, #channel)                                      \
          ".if (" #channels ") & 1\n\t" /* the last pair begins one channel earlier */                              \
          "subs lr, r0, r2\n\t"                                                                                     \
          "movw r12, #narrow_pair\n\t"                                                                              \
          "cmp  lr, r12\n\t"                                                                                        \
          "movw r12, #" NARROW_TILE_NEXT_##end(#tile, #channel) "\n\t"                                              \
          "it   eq\n\t"                                                                                             \
          "subeq r3, r3, r12\n\t"                                                                                   \
          ".endif\n\t"                                                                                              \
          "str  r3, [sp, #4]\n\t"                                                                                   \
          "cmp  r2, r0\n\t"                                                                                         \
          "bne.w  1b\n\t"                                                                                           \
          "add  sp, sp, #20\n\t"                                                                                    \
          "pop  {r4-r11, pc}\n\t"                                                                                   \
          NARROW_ASSEMBLY_END(#name));

#else

typedef enum { NARROW_TILE_EACH, NARROW_TILE_LANES } narrow_tile_form;

static NARROW_INLINE void narrow_conv_2d_tile_dsp(const int32_t *const *rows, void *output, const int32_t *weights,
                                                  narrow_end end, narrow_tile_form form, int32_t tile, int32_t height,
                                                  int32_t words, const int32_t *offsets, int32_t channels,
                                                  int32_t pixel, int32_t channel) {
  for (int32_t pair = 0; pair < channels; pair += 2) {
    const int32_t first = pair + 2 > channels ? channels - 2 : pair;
    const int32_t *const w = weights + 2, *const tail = w + height * words;
    for (int32_t p = 0; p < tile; ++p) {
      int32_t a = weights[0], b = weights[1];
      for (int32_t i = 0; i < height * words; ++i) {
        const int32_t x = rows[i / words][i % words + offsets[p] / 4];
        a = narrow_mac2(x, narrow_even(w[i]), a);
        b = narrow_mac2(x, form == NARROW_TILE_LANES ? w[i] : narrow_odd(w[i]), b);
      }
      if (form == NARROW_TILE_LANES) b = (int32_t)((uint32_t)b - (uint32_t)a) >> (end == NARROW_END_SHIFT ? 0 : 8);
      if (end == NARROW_END_NONE) {
        ((int32_t *)output)[first * tile + p] = a;
        ((int32_t *)output)[(first + 1) * tile + p] = b;
      } else {
        ((int8_t *)output)[first * channel + p * pixel] = narrow_tile_end(end, tail, 0, a);
        ((int8_t *)output)[(first + 1) * channel + p * pixel] = narrow_tile_end(end, tail, 1, b);
      }
    }
    weights = tail + narrow_tile_tail(end);
  }
}

#define NARROW_CONV_2D_TILES_DSP(name, end, form, tile, height, loops, unrolled, rest, second, third, fourth, \
                                 channels, pixel, channel)                                                    \
  static void name(const int32_t *const *rows, void *output, const int32_t *weights) {                        \
    const int32_t offsets[4] = {0, second, third, fourth};                                                    \
    narrow_conv_2d_tile_dsp(rows, output, weights, NARROW_LOOP_##end, NARROW_TILE_##form, tile, height,       \
                            (loops) * (unrolled) + (rest), offsets, channels, pixel, channel);                \
  }

#endif

/* Widens a multiple of 4 bytes to as many int16, pairs of the first and third, second and fourth of every four. */
static NARROW_INLINE int32_t *narrow_widen(const int8_t *from, int32_t bytes, int32_t *to) {
  const int8_t *const end = from + bytes;
  const int8_t *const sixteens = from + (bytes & ~15);
  for (; from < sixteens; from += 16, to += 8) {
    const int32_t a = narrow_word(from), b = narrow_word(from + 4), c = narrow_word(from + 8);
    const int32_t d = narrow_word(from + 12);
    to[0] = narrow_even(a);
    to[1] = narrow_odd(a);
    to[2] = narrow_even(b);
    to[3] = narrow_odd(b);
    to[4] = narrow_even(c);
    to[5] = narrow_odd(c);
    to[6] = narrow_even(d);
    to[7] = narrow_odd(d);
  }
  for (; from < end; from += 4, to += 2) {
    const int32_t x = narrow_word(from);
    to[0] = narrow_even(x);
    to[1] = narrow_odd(x);
  }
  return to;
}

/* Writes a half of a word, the lower one first. */
static NARROW_INLINE void narrow_put_half(int32_t *words, int32_t i, int32_t value) {
  const uint32_t word = (uint32_t)words[i / 2], half = (uint32_t)value & 0xffffu;
  words[i / 2] = (int32_t)(i % 2 != 0 ? (word & 0xffffu) | (half << 16) : (word & 0xffff0000u) | half);
}

/* Widens bytes to as many int16 in their order, from half `at` of words on. */
static NARROW_INLINE void narrow_widen_in_order(const int8_t *from, int32_t bytes, int32_t *words, int32_t at) {
  const int8_t *const end = from + bytes;
  if (at % 2 != 0 && from < end) narrow_put_half(words, at++, *from++);
  int32_t *to = words + at / 2;
  for (; end - from >= 4; from += 4, to += 2) {
    const int32_t x = narrow_word(from);
    const uint32_t even = (uint32_t)narrow_even(x), odd = (uint32_t)narrow_odd(x);
    to[0] = (int32_t)((even & 0xffffu) | (odd << 16));
    to[1] = (int32_t)((even >> 16) | (odd & 0xffff0000u));
  }
  for (int32_t i = 0; from < end; ++i) narrow_put_half(to, i, *from++);
}

/* A 1x1 convolution of stride 1 without padding; input_channels is a multiple of 4.
 *
 * For all layers: the output has as many pixels as a tile or more, here in an image, below in a row; a tile that would
 * go beyond them starts earlier and computes some pixels again. image: bytes from image to image of the output.
 * scratch: 2 * pixels of a tile * input_channels bytes, then for sums 4 * pixels of a tile a channel. */
static NARROW_WALK void narrow_conv_2d_pixels_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                  int32_t image, const int8_t *input, int8_t *output,
                                                  int8_t *scratch) {
  const int32_t depth = window->input_channels, pixels = window->output_height * window->output_width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  const int32_t *rows[2] = {columns, 0};
  for (int32_t batch = 0; batch < window->batches; ++batch, input += pixels * depth, output += image) {
    for (int32_t i = 0, tile; i < pixels; i += tile) {
      tile = narrow_tile_pixels(layer, pixels - i);
      const int32_t first = i + tile > pixels ? pixels - tile : i;
      narrow_widen(input + first * depth, tile * depth, columns);
      narrow_tile(layer, tile, rows, output + first * layer->pixel, columns + layer->pixels * depth / 2);
    }
  }
}

/* Any convolution: the inputs under each window side by side, with zeros of weights up to a multiple of 4.
 *
 * depth4: kernel_height * kernel_width * input_channels, rounded up to a multiple of 4.
 * scratch: (2 * pixels of a tile + 1) * depth4 bytes, then for sums 4 * pixels of a tile a channel. */
static NARROW_WALK void narrow_conv_2d_windows_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                   int32_t depth4, int32_t image, const int8_t *input,
                                                   int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t width = own.output_width, pixels = own.output_height * width;
  int32_t *const columns = (int32_t *)(void *)scratch;
  int32_t *const sums = columns + layer->pixels * depth4 / 2;
  int8_t *const patch = (int8_t *)(sums + (layer->end == NARROW_END_NONE ? 0 : layer->pixels * layer->channels));
  const int32_t *rows[2] = {columns, 0};
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image) {
    for (int32_t i = 0, tile; i < pixels; i += tile) {
      tile = narrow_tile_pixels(layer, pixels - i);
      const int32_t first = i + tile > pixels ? pixels - tile : i;
      int32_t *to = columns;
      for (int32_t pixel = first; pixel < first + tile; ++pixel) {
        const int32_t y = pixel / width, x = pixel - y * width;
        narrow_gather(&own, input, y * own.stride_height - own.pad_top, x * own.stride_width - own.pad_left, patch);
        to = narrow_widen(patch, depth4, to);
      }
      narrow_tile(layer, tile, rows, output + first * layer->pixel, sums);
    }
    input += own.input_height * own.input_width * own.input_channels;
  }
}

/* How rows of an image are widened: NARROW_ROW_FOURS: as narrow_widen does, input_channels is a multiple of 4;
 * NARROW_ROW_ORDER: in order; NARROW_ROW_TWICE: in order, and again without their first element, words further. */
typedef enum { NARROW_ROW_FOURS, NARROW_ROW_ORDER, NARROW_ROW_TWICE } narrow_row_order;

/* The rows of an image under a window, widened with their padding, in a ring. */
typedef struct {
  int32_t *words;
  int32_t length; /* of a row, words, both copies if there are two */
  int32_t ready;  /* rows of the image with its padding that are or were in the ring */
  int32_t slot;   /* of the next one, which holds the oldest one */
} narrow_row_ring;

/* Widens a row to an empty one; a row of padding where `row` is NULL. */
static NARROW_INLINE void narrow_ring_row(const narrow_window *window, narrow_row_order order, const int8_t *row,
                                          int32_t length, int32_t *to) {
  const int32_t left = window->pad_left * window->input_channels;
  const int32_t bytes = window->input_width * window->input_channels;
  if (row == 0) {
    const int32_t padding = (int32_t)(((uint32_t)window->padding_value & 0xffffu) * 0x10001u);
    for (int32_t i = 0; i < length; ++i) to[i] = padding;
  } else if (order == NARROW_ROW_FOURS) {
    narrow_widen(row, bytes, to + left / 2);
  } else {
    narrow_widen_in_order(row, bytes, to, left);
    if (order == NARROW_ROW_TWICE) {
      const int32_t gone = left == 0;
      narrow_widen_in_order(row + gone, bytes - gone, to + length / 2, left - 1 + gone);
    }
  }
}

/* Makes the ring hold the rows under the windows of output row y of an image, and sets `rows` to them. */
static NARROW_INLINE void narrow_ring_forward(const narrow_window *window, narrow_row_order order,
                                              const int8_t *image, int32_t y, narrow_row_ring *ring,
                                              const int32_t **rows) {
  const int32_t top = y * window->stride_height, height = window->kernel_height;
  if (ring->ready < top) ring->ready = top;
  for (; ring->ready < top + height; ++ring->ready) {
    const int32_t at = ring->ready - window->pad_top;
    const int outside = at < 0 || at >= window->input_height;
    narrow_ring_row(window, order, outside ? 0 : image + at * window->input_width * window->input_channels,
                    ring->length, ring->words + ring->slot * ring->length);
    ring->slot = ring->slot + 1 == height ? 0 : ring->slot + 1;
  }
  for (int32_t ky = 0, from = ring->slot; ky < height; ++ky, from = from + 1 == height ? 0 : from + 1) {
    rows[ky] = ring->words + from * ring->length;
  }
}

/* A convolution with the rows under the kernel widened once, with their padding, for all its windows. Dilations are 1.
 *
 * A window's first element is at an even place of its row; with NARROW_ROW_TWICE only of the first pixel of a tile, and
 * those that are not are read from the second copy.
 *
 * length: words of a row with its padding, twice that of NARROW_ROW_TWICE.
 * scratch: kernel_height * length words, then for sums 4 * pixels of a tile bytes a channel. */
static NARROW_WALK void narrow_conv_2d_rows_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                narrow_row_order order, int32_t length, int32_t image,
                                                const int8_t *input, int8_t *output, int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t height = own.kernel_height, width = own.output_width;
  const int32_t step = own.stride_width * own.input_channels;
  narrow_row_ring ring = {(int32_t *)(void *)scratch, length, 0, 0};
  int32_t *const sums = ring.words + height * length;
  const int32_t *lines[NARROW_TILE_ROWS + 1], *rows[NARROW_TILE_ROWS + 1];
  rows[height] = 0;
  narrow_ring_row(&own, order, 0, height * length, ring.words);
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image) {
    ring.ready = 0;
    for (int32_t y = 0; y < own.output_height; ++y) {
      narrow_ring_forward(&own, order, input, y, &ring, lines);
      for (int32_t x = 0, tile; x < width; x += tile) {
        tile = narrow_tile_pixels(layer, width - x);
        const int32_t first = x + tile > width ? width - tile : x;
        for (int32_t ky = 0; ky < height; ++ky) rows[ky] = lines[ky] + first * step / 2;
        narrow_tile(layer, tile, rows, output + (y * width + first) * layer->pixel, sums);
      }
    }
    input += own.input_height * own.input_width * own.input_channels;
  }
}

/* The same with the inputs under a tile's windows copied side by side, a kernel of a single row: faster where rows are
 * short and channels many. Tiles cross rows of the output, and their pixels add up to those of an image.
 *
 * words: of a row under a window. scratch: kernel_height * (length + pixels of a tile * words) words, then for sums 4 *
 * pixels of a tile bytes a channel. */
static NARROW_WALK void narrow_conv_2d_columns_dsp(const narrow_window *window, const narrow_tile_layer *layer,
                                                   narrow_row_order order, int32_t length, int32_t words,
                                                   int32_t image, const int8_t *input, int8_t *output,
                                                   int8_t *scratch) {
  const narrow_window own = *window; /* which no store through an int8_t pointer can reach */
  const int32_t height = own.kernel_height, width = own.output_width, pixels = own.output_height * width;
  const int32_t step = own.stride_width * own.input_channels;
  narrow_row_ring ring = {(int32_t *)(void *)scratch, length, 0, 0};
  int32_t *const columns = ring.words + height * length;
  int32_t *const sums = columns + layer->pixels * height * words;
  const int32_t *lines[NARROW_TILE_ROWS];
  const int32_t *const side_by_side[2] = {columns, 0};
  narrow_ring_row(&own, order, 0, height * length, ring.words);
  for (int32_t batch = 0; batch < own.batches; ++batch, output += image) {
    int32_t *to = columns;
    int32_t done = 0, tile = narrow_tile_pixels(layer, pixels), left = tile;
    ring.ready = 0;
    for (int32_t y = 0; y < own.output_height; ++y) {
      narrow_ring_forward(&own, order, input, y, &ring, lines);
      for (int32_t x = 0; x < width; ++x) {
        const int32_t at = x * step, from = at / 2 + (order == NARROW_ROW_TWICE && at % 2 != 0 ? length / 2 : 0);
        for (int32_t ky = 0; ky < height; ++ky) {
          const int32_t *const row = lines[ky] + from;
          for (int32_t i = 0; i < words; ++i) *to++ = row[i];
        }
        if (--left == 0) {
          narrow_tile(layer, tile, side_by_side, output + done * layer->pixel, sums);
          done += tile;
          left = tile = narrow_tile_pixels(layer, pixels - done);
          to = columns;
        }
      }
    }
    input += own.input_height * own.input_width * own.input_channels;
  }
}

#endif
