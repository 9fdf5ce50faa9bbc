// SPDX-License-Identifier: Apache-2.0
// Windows over images from TFLM's parameters of convolutions.
#ifndef NARROW_WINDOWS_H
#define NARROW_WINDOWS_H

#include "narrow_folding.h"
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/kernels/padding.h"

namespace narrow {

// Reads the windows of an operator with Params of a convolution; the kernel's height and width are axes 1 and 2 of its
// weights. Returns false for shapes that make no windows or not those of the output.
template <class Params>
bool ReadWindow(const Params& params, const TfLiteTensor* input, const TfLiteTensor* weights,
                const TfLiteTensor* output, narrow_window* window) {
  const TfLiteIntArray &x = *input->dims, &w = *weights->dims, &y = *output->dims;
  if (x.size != 4 || w.size != 4 || y.size != 4 || x.data[0] != y.data[0]) return false;
  for (int i = 0; i < 4; ++i) {
    if (x.data[i] < 1 || w.data[i] < 1 || y.data[i] < 1) return false;
  }
  if (params.stride_height < 1 || params.stride_width < 1 || params.dilation_height_factor < 1 ||
      params.dilation_width_factor < 1) {
    return false;
  }
  int height, width;
  const TfLitePaddingValues padding = tflite::ComputePaddingHeightWidth(
      params.stride_height, params.stride_width, params.dilation_height_factor, params.dilation_width_factor,
      x.data[1], x.data[2], w.data[1], w.data[2], params.padding, &height, &width);
  if (height != y.data[1] || width != y.data[2]) return false;
  *window = {x.data[0],
             x.data[1],
             x.data[2],
             x.data[3],
             y.data[1],
             y.data[2],
             y.data[3],
             w.data[1],
             w.data[2],
             params.stride_height,
             params.stride_width,
             params.dilation_height_factor,
             params.dilation_width_factor,
             padding.height,
             padding.width,
             static_cast<int8_t>(input->params.zero_point)};
  return true;
}

// Whether the windows are single pixels, every one of them in order.
inline bool IsPointwise(const narrow_window& window) {
  return window.kernel_height == 1 && window.kernel_width == 1 && window.stride_height == 1 &&
         window.stride_width == 1 && window.pad_top == 0 && window.pad_left == 0;
}

}  // namespace narrow

#endif  // NARROW_WINDOWS_H
