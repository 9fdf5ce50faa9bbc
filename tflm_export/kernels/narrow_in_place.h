/* Kernels for cores with the DSP extension that read weights in the order of a .tflite file, at any address: for a
 * program that cannot repack them at export and has no memory to do so at run time. See narrow_kernels.h. */
#ifndef NARROW_IN_PLACE_H
#define NARROW_IN_PLACE_H

#include "narrow_kernels.h"

/* Convolution.
 *
 * weights: [output_channels, kernel_height, kernel_width, input_channels].
 * scratch: 9 * depth4 bytes, aligned to 4, where depth4 is kernel_height * kernel_width * input_channels rounded up to
 *   a multiple of 4. */
void narrow_conv_2d_in_place_shift(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                   const int8_t *input, int8_t *output, int8_t *scratch);
void narrow_conv_2d_in_place_multiply(const narrow_window *window, const narrow_rescale *rescale,
                                      const int8_t *weights, const int8_t *input, int8_t *output, int8_t *scratch);
void narrow_conv_2d_in_place_wide(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                  const int8_t *input, int8_t *output, int8_t *scratch);
void narrow_conv_2d_in_place_stock(const narrow_window *window, const narrow_rescale *rescale, const int8_t *weights,
                                   const int8_t *input, int8_t *output, int8_t *scratch);

/* Dense layer. weights: [channels, depth]. */
void narrow_fully_connected_in_place_shift(int32_t rows, int32_t depth, int32_t channels,
                                           const narrow_rescale *rescale, const int8_t *weights, const int8_t *input,
                                           int8_t *output);
void narrow_fully_connected_in_place_multiply(int32_t rows, int32_t depth, int32_t channels,
                                              const narrow_rescale *rescale, const int8_t *weights,
                                              const int8_t *input, int8_t *output);
void narrow_fully_connected_in_place_wide(int32_t rows, int32_t depth, int32_t channels,
                                          const narrow_rescale *rescale, const int8_t *weights, const int8_t *input,
                                          int8_t *output);
void narrow_fully_connected_in_place_stock(int32_t rows, int32_t depth, int32_t channels,
                                           const narrow_rescale *rescale, const int8_t *weights, const int8_t *input,
                                           int8_t *output);

/* Depthwise convolution; as many output as input channels, a multiple of 4.
 *
 * weights: [kernel_height, kernel_width, channels].
 * patch: scratch of kernel_height * kernel_width * channels bytes. */
void narrow_depthwise_conv_2d_in_place_shift(const narrow_window *window, const narrow_rescale *rescale,
                                             const int8_t *weights, const int8_t *input, int8_t *output,
                                             int8_t *patch);
void narrow_depthwise_conv_2d_in_place_multiply(const narrow_window *window, const narrow_rescale *rescale,
                                                const int8_t *weights, const int8_t *input, int8_t *output,
                                                int8_t *patch);
void narrow_depthwise_conv_2d_in_place_wide(const narrow_window *window, const narrow_rescale *rescale,
                                            const int8_t *weights, const int8_t *input, int8_t *output,
                                            int8_t *patch);
void narrow_depthwise_conv_2d_in_place_stock(const narrow_window *window, const narrow_rescale *rescale,
                                             const int8_t *weights, const int8_t *input, int8_t *output,
                                             int8_t *patch);

#endif
