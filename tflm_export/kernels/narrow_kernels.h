/* SPDX-License-Identifier: Apache-2.0 */
/* Integer kernels for int8 models with narrow rescale multipliers.
 *
 * C99, freestanding: nothing is allocated, nothing is called but memcpy and memset. Every function stands in the file
 * of its name. Images are [batches, height, width, channels]. No kernel may be given overlapping inputs and outputs,
 * unless it says so.
 *
 * A function with an accumulator ends in one of four ways:
 *
 *   _shift     y = acc >> s                       every multiplier is 1 (k = 1)
 *   _multiply  y = (acc * m + fold) >> s          all of it fits 32 bits
 *   _wide      y = Zy + ((acc * m + half) >> s)   in 64 bits
 *   _stock     y = Zy + MultiplyByQuantizedMultiplier(acc, m, shift), TFLM's two roundings, for comparison
 *
 * saturated to int8. The first three round once, halves up; they are one and the same function of the model. Which of
 * them a layer may call was proved when it was exported, from its weights: no kernel checks for overflow.
 */
#ifndef NARROW_KERNELS_H
#define NARROW_KERNELS_H

#include <stdint.h>

#include "narrow_compiler.h"

NARROW_C_BEGIN

/* A window that slides over an image. All counts are at least 1, all products of sizes below 2^31.
 *
 * pad_top, pad_left: rows and columns outside the image that the first window covers, 0 or more.
 * padding_value: what stands outside the image: the input's zero point, -128..127. */
typedef struct {
  int32_t batches;
  int32_t input_height, input_width, input_channels;
  int32_t output_height, output_width, output_channels;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t dilation_height, dilation_width;
  int32_t pad_top, pad_left;
  int8_t padding_value;
} narrow_window;

/* What follows the sum of products, [channels] each. Unused pointers may be NULL.
 *
 * With acc the sum over raw int8 inputs, b the bias and Zx, Zy the zero points:
 *   start       where the accumulator begins. b - Zx * sum(w); for _shift also 2^(s-1) (if s > 0) + Zy * 2^s.
 *   multiplier  _multiply, _wide: 0..2^31 - 1. _stock: 0 or 2^30..2^31 - 1.
 *   fold        _multiply: 2^(s-1) (if s > 0) + Zy * 2^s. narrow_dense_dsp's _stock: the same where fold_stock
 *               of c/epilogue.py proved it, else NULL; no other _stock function reads it.
 *   shift       right shift. _shift, _multiply: 0..31. _wide: 0..62. _stock: beyond 31, -31..31, negative to the left.
 *   zero_point  _wide, _stock: Zy, -128..127. */
typedef struct {
  const int32_t *start;
  const int32_t *multiplier;
  const int32_t *fold;
  const int8_t *shift;
  int32_t zero_point;
} narrow_rescale;

/* Convolution.
 *
 * weights: [output_channels, kernel_height, kernel_width, input_channels], -128..127.
 * patch: scratch of kernel_height * kernel_width * input_channels bytes. */
typedef void narrow_windowed(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                             const int8_t *input, int8_t *output, int8_t *patch);
narrow_windowed narrow_conv_2d_shift, narrow_conv_2d_multiply, narrow_conv_2d_wide, narrow_conv_2d_stock;

/* Dense layer, and convolution with a 1x1 kernel and stride 1.
 *
 * weights: [channels, depth]; input: [rows, depth]; output: [rows, channels]. */
typedef void narrow_dense(int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                          const int8_t *weights, const int8_t *input, int8_t *output);
narrow_dense narrow_fully_connected_shift, narrow_fully_connected_multiply, narrow_fully_connected_wide,
    narrow_fully_connected_stock;

/* Depthwise convolution; output channel c reads input channel c / (output_channels / input_channels).
 *
 * weights: [kernel_height, kernel_width, output_channels]; output_channels is a multiple of input_channels.
 * patch: scratch of kernel_height * kernel_width * input_channels bytes. */
narrow_windowed narrow_depthwise_conv_2d_shift, narrow_depthwise_conv_2d_multiply, narrow_depthwise_conv_2d_wide,
    narrow_depthwise_conv_2d_stock;

/* Dense layer for cores with the DSP extension. channels4 and depth4 are channels and depth up to a multiple of 4; the
 * arrays of the rescale have channels4 elements.
 *
 * weights: [channels4 / 4, depth4 / 4, 2 pairs of channels, 2] words for two channels A and B and two depths k and k',
 *   which are 0, 2 and then 1, 3 of every four, with zeros behind the layer's own:
 *   narrow_fully_connected_dsp: bytes A k, B k, A k', B k', lowest first;
 *   narrow_fully_connected_lanes_dsp: int16 256 * B k + A k, then 256 * B k' + A k', and B starts with A + 256 * B; see
 *   narrow_conv_2d_tiles_dsp.h.
 * scratch: depth4 bytes, aligned to 4, if that is not depth. */
typedef void narrow_dense_dsp(int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                              const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch);
narrow_dense_dsp narrow_fully_connected_dsp_shift, narrow_fully_connected_dsp_multiply,
    narrow_fully_connected_dsp_wide, narrow_fully_connected_dsp_stock;
narrow_dense_dsp narrow_fully_connected_lanes_dsp_shift, narrow_fully_connected_lanes_dsp_multiply,
    narrow_fully_connected_lanes_dsp_wide, narrow_fully_connected_lanes_dsp_stock;

/* Depthwise convolution for cores with the DSP extension; as many output as input channels, a multiple of 4. (Where their
 * sizes allow, layers go plane by plane, and all other convolutions tile by tile, through loops with the sizes in them:
 * see narrow_plane_walk.h and narrow_tiles.h.)
 *
 * weights: [channels / 4, kernel_height, kernel_width, 2] words: int16 pairs of channels (0, 2), (1, 3) of the four.
 * patch: scratch of kernel_height * kernel_width * input_channels bytes. */
typedef void narrow_windowed_dsp(const narrow_window *window, const narrow_rescale *rescale, const int32_t *weights,
                                 const int8_t *input, int8_t *output, int8_t *patch);
narrow_windowed_dsp narrow_depthwise_conv_2d_dsp_shift, narrow_depthwise_conv_2d_dsp_multiply,
    narrow_depthwise_conv_2d_dsp_wide, narrow_depthwise_conv_2d_dsp_stock;

/* Dense layer for ARMv6-M. channels4 and depth4 are channels and depth up to a multiple of 4; the rescale's start has
 * channels4 elements.
 *
 * weights: [channels4 / 4, depth4 / 2, 2] words for two channels A and B and two depths k and k + 1, with zeros behind
 *   the layer's own, in the forms of narrow_dense_dsp.
 * scratch: 4 * depth4 bytes, aligned to 4. */
typedef void narrow_dense_v6m(int32_t rows, int32_t depth, int32_t channels, const narrow_rescale *rescale,
                              const int32_t *weights, const int8_t *input, int8_t *output, int8_t *scratch);
narrow_dense_v6m narrow_fully_connected_v6m_shift, narrow_fully_connected_v6m_multiply,
    narrow_fully_connected_v6m_wide, narrow_fully_connected_v6m_stock;
narrow_dense_v6m narrow_fully_connected_lanes_v6m_shift, narrow_fully_connected_lanes_v6m_multiply,
    narrow_fully_connected_lanes_v6m_wide, narrow_fully_connected_lanes_v6m_stock;

/* y = (a * factor_a + b * factor_b + start) >> shift, every partial sum within 32 bits.
 *
 * a: [repeats, count]; b: [count], used again for each repeat; output: [repeats, count].
 * start: 2^(shift-1) (if shift > 0) + Zy * 2^shift - Za * factor_a - Zb * factor_b.
 * shift: 0..31. The factors carry what aligns the two terms, so that one rounding is all there is. */
void narrow_add(int32_t repeats, int32_t count, int32_t factor_a, int32_t factor_b, int32_t start, int32_t shift,
                const int8_t *a, const int8_t *b, int8_t *output);

/* The same in 64 bits; shift: 0..62. */
void narrow_add_wide(int32_t repeats, int32_t count, int64_t factor_a, int64_t factor_b, int64_t start, int32_t shift,
                     const int8_t *a, const int8_t *b, int8_t *output);

/* TFLM's ADD: both terms at 2^20, rescaled to twice the larger scale, added, rescaled.
 *
 * multipliers, shifts: of a, b and the sum, as in narrow_rescale for _stock; those of a and b at most 1/2, shifts 0..31.
 * zero_points: of a, b and the output, -128..127. */
void narrow_add_stock(int32_t repeats, int32_t count, const int32_t *multipliers, const int8_t *shifts,
                      const int32_t *zero_points, const int8_t *a, const int8_t *b, int8_t *output);

/* y = (a - Za) * (b - Zb), rescaled; a, b and output as for narrow_add.
 *
 * zero_points: of a and b. rescale: of one channel, whose bias is 0. */
typedef void narrow_product(int32_t repeats, int32_t count, const int32_t *zero_points, const narrow_rescale *rescale,
                            const int8_t *a, const int8_t *b, int8_t *output);
narrow_product narrow_mul_shift, narrow_mul_multiply, narrow_mul_wide, narrow_mul_stock;

/* Mean over windows, of the elements inside the image, halves away from zero. Windows touch the image.
 * The window's input_channels and output_channels are equal; dilations are 1. */
void narrow_average_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output);

/* Largest element of windows inside the image; shapes as for narrow_average_pool_2d. */
void narrow_max_pool_2d(const narrow_window *window, const int8_t *input, int8_t *output);

/* Mean over the middle axis: [outer, count, inner] to [outer, inner].
 *
 * y = floor((sum(x) * factor + start) / divisor) - 128, saturated. For a multiplier m and a shift s >= 0:
 *   factor   2 * m
 *   divisor  2 * count * 2^s, 1..2^31 - 1
 *   start    divisor * (Zy + 128) + divisor / 2 - Zx * count * factor
 * all three over a common power of two. The sum, its product with the factor and the sum with start fit 32 bits. */
void narrow_mean(int32_t outer, int32_t count, int32_t inner, int32_t factor, int32_t start, int32_t divisor,
                 const int8_t *input, int8_t *output);

/* The same in 64 bits; the sum itself still fits 32. */
void narrow_mean_wide(int32_t outer, int32_t count, int32_t inner, int64_t factor, int64_t start, int64_t divisor,
                      const int8_t *input, int8_t *output);

/* TFLM's MEAN: the sum's offset from its zero point through a 31-bit multiplier that holds 1 / count.
 *
 * input_zero_point: Zx. rescale: of one channel, for _stock; its start is not read. */
void narrow_mean_stock(int32_t outer, int32_t count, int32_t inner, int32_t input_zero_point,
                       const narrow_rescale *rescale, const int8_t *input, int8_t *output);

/* Softmax over the last axis, [rows, depth], bit for bit TFLM's int8 one: output scale 1/256, zero point -128.
 *
 * exponentials: exp(-d * beta * Sx) in 0..2^31 - 1 for d = 0..length - 1; 0 beyond.
 * length: 1..256. depth: 1..4095. */
void narrow_softmax(int32_t rows, int32_t depth, int32_t length, const int32_t *exponentials, const int8_t *input,
                    int8_t *output);

/* y = table[x + 128], any function of one int8. May work in place. */
void narrow_lookup(int32_t count, const int8_t *table, const int8_t *input, int8_t *output);

/* y = (x * factor + start) >> shift, saturated; may work in place.
 *
 * start: 2^(shift-1) (if shift > 0) + Zy * 2^shift - Zx * factor. shift: 0..31. All of it within 32 bits. */
void narrow_quantize(int32_t count, int32_t factor, int32_t start, int32_t shift, const int8_t *input, int8_t *output);

/* y = min(max(x, low), high): fused and standalone activations of the ReLU family; low <= high. May work in place. */
void narrow_clamp(int32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output);

/* Copies rows of `bytes` bytes to an output whose rows begin every `output_stride` bytes (concatenation). */
void narrow_copy_rows(int32_t rows, int32_t bytes, int32_t output_stride, const int8_t *input, int8_t *output);

/* Constant border around four axes.
 *
 * shape: of the input; before, after: 0 or more elements on each side of each axis. */
void narrow_pad(const int32_t shape[4], const int32_t before[4], const int32_t after[4], int8_t value,
                const int8_t *input, int8_t *output);

/* Any movement of elements of 1, 2, 4 or 8 bytes, as strided copies of blocks. No input overlaps the output.
 *
 * size: of an element, in bytes. All that follows is in elements.
 * count: of the blocks. rank: their axes, 1..8, the innermost last.
 * blocks: for each, which of the inputs, how many copies of it, [rank] sizes of 1 or more, [rank] steps in the input and
 *   [rank] in the output.
 * places: for each copy, in the order of the blocks, where it begins in the input and in the output. */
void narrow_move(int32_t size, int32_t count, int32_t rank, const int32_t *blocks, const int32_t *places,
                 const void *const *inputs, void *output);

/* `count` elements of 1, 2, 4 or 8 bytes, all of them one value. */
void narrow_set(int32_t size, int32_t count, int64_t value, void *output);

NARROW_C_END

#endif
