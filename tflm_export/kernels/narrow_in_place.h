/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for cores with the DSP extension that read weights in the order of a .tflite file, at any address: for a
 * program that cannot repack them at export and has no memory to do so at run time. See narrow_kernels.h. */
#ifndef NARROW_IN_PLACE_H
#define NARROW_IN_PLACE_H

#include "narrow_kernels.h"

NARROW_C_BEGIN

/* Convolution.
 *
 * weights: [output_channels, kernel_height, kernel_width, input_channels].
 * patch: scratch of 9 * depth4 bytes, aligned to 4, where depth4 is kernel_height * kernel_width * input_channels
 *   rounded up to a multiple of 4. */
narrow_windowed narrow_conv_2d_in_place_shift, narrow_conv_2d_in_place_multiply, narrow_conv_2d_in_place_wide,
    narrow_conv_2d_in_place_stock;

/* Dense layer. weights: [channels, depth]. */
narrow_dense narrow_fully_connected_in_place_shift, narrow_fully_connected_in_place_multiply,
    narrow_fully_connected_in_place_wide, narrow_fully_connected_in_place_stock;

/* Depthwise convolution; as many output as input channels, a multiple of 4.
 *
 * weights: [kernel_height, kernel_width, channels].
 * patch: scratch of kernel_height * kernel_width * channels bytes. */
narrow_windowed narrow_depthwise_conv_2d_in_place_shift, narrow_depthwise_conv_2d_in_place_multiply,
    narrow_depthwise_conv_2d_in_place_wide, narrow_depthwise_conv_2d_in_place_stock;

NARROW_C_END

#endif
