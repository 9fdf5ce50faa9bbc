// SPDX-License-Identifier: Apache-2.0
// TRANSPOSE_CONV: each output gathers the inputs whose windows reach it, so that no sums have to be kept.
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/kernels/padding.h"
#include "tensorflow/lite/micro/kernels/transpose_conv.h"

extern "C" {
#include "narrow_rescale.h"
}

namespace narrow {
namespace {

constexpr Operands kOperands = {2, 1, 3};  // input 0 is the output's shape

// One axis: where window i begins is i * stride - before.
struct Axis {
  int32_t input, output, kernel, stride, before;
};

class TransposeConv {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteTransposeConvParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    Layer layer;
    if (!ReadLayer(tensors, 0, &layer, kOperands) || !ReadWindows(params, tensors)) return kTfLiteOk;
    layer.is_centred = true;
    input_zero_point_ = layer.input_zero_point;
    return rescaled_.Prepare(context, layer, params.activation, tensors.output(), is_narrow);
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const int8_t* const input = Input(context, node, kOperands.input);
    const int8_t* const weights = Input(context, node, kOperands.weights);
    int8_t* const output = Output(context, node);
    switch (rescaled_.end) {
      case End::kShift:
        Run<NARROW_END_SHIFT>(input, weights, output);
        break;
      case End::kMultiply:
        Run<NARROW_END_MULTIPLY>(input, weights, output);
        break;
      case End::kWide:
        Run<NARROW_END_WIDE>(input, weights, output);
        break;
    }
    Activate(rescaled_.low, rescaled_.high, batches_ * height_.output * width_.output * channels_, output);
    return kTfLiteOk;
  }

 private:
  bool ReadWindows(const TfLiteTransposeConvParams& params, const Tensors& tensors) {
    const TfLiteIntArray& x = *tensors.input(kOperands.input)->dims;
    const TfLiteIntArray& w = *tensors.input(kOperands.weights)->dims;
    const TfLiteIntArray& y = *tensors.output()->dims;
    if (x.size != 4 || w.size != 4 || y.size != 4 || x.data[0] != y.data[0] || x.data[3] != w.data[3] ||
        y.data[3] != w.data[0] || params.stride_height < 1 || params.stride_width < 1) {
      return false;
    }
    for (int i = 0; i < 4; ++i) {
      if (x.data[i] < 1 || y.data[i] < 1) return false;
    }
    int height, width;  // those of the convolution that this one transposes: not checked by TFLM
    const TfLitePaddingValues padding = tflite::ComputePaddingHeightWidth(
        params.stride_height, params.stride_width, 1, 1, y.data[1], y.data[2], w.data[1], w.data[2], params.padding,
        &height, &width);
    batches_ = x.data[0];
    depth_ = x.data[3];
    channels_ = y.data[3];
    height_ = {x.data[1], y.data[1], w.data[1], params.stride_height, padding.height};
    width_ = {x.data[2], y.data[2], w.data[2], params.stride_width, padding.width};
    return true;
  }

  template <narrow_end kEnd>
  void Run(const int8_t* input, const int8_t* weights, int8_t* output) const {
    for (int32_t batch = 0; batch < batches_; ++batch, input += height_.input * width_.input * depth_) {
      for (int32_t y = 0; y < height_.output; ++y) {
        for (int32_t x = 0; x < width_.output; ++x) {
          for (int32_t c = 0; c < channels_; ++c) {
            const int8_t* const kernel = weights + c * height_.kernel * width_.kernel * depth_;
            const int32_t acc = Accumulate(rescaled_.rescale.start[c], input, kernel, y, x);
            *output++ = narrow_finish(kEnd, &rescaled_.rescale, c, acc);
          }
        }
      }
    }
  }

  // Adds up the taps that reach output (y, x): every stride-th one, of windows that begin one element earlier each time.
  int32_t Accumulate(int32_t acc, const int8_t* image, const int8_t* kernel, int32_t y, int32_t x) const {
    const int32_t bottom = y + height_.before, right = x + width_.before;
    for (int32_t ky = bottom % height_.stride; ky < height_.kernel && ky <= bottom; ky += height_.stride) {
      const int32_t iy = (bottom - ky) / height_.stride;
      if (iy >= height_.input) continue;
      for (int32_t kx = right % width_.stride; kx < width_.kernel && kx <= right; kx += width_.stride) {
        const int32_t ix = (right - kx) / width_.stride;
        if (ix >= width_.input) continue;
        const int8_t* const pixel = image + (iy * width_.input + ix) * depth_;
        const int8_t* const tap = kernel + (ky * width_.kernel + kx) * depth_;
        for (int32_t i = 0; i < depth_; ++i) acc += (pixel[i] - input_zero_point_) * tap[i];
      }
    }
    return acc;
  }

  Axis height_, width_;
  int32_t batches_, depth_, channels_, input_zero_point_;
  Rescaled rescaled_;
};

}  // namespace

TFLMRegistration Register_TRANSPOSE_CONV() {
  return Registration<TransposeConv, tflite::Register_TRANSPOSE_CONV>::Get();
}

}  // namespace narrow
