// SPDX-License-Identifier: Apache-2.0
// DEPTHWISE_CONV_2D.
#include "narrow_core.h"
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "narrow_windows.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/depthwise_conv.h"

namespace narrow {
namespace {

class DepthwiseConv2D {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteDepthwiseConvParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    Layer layer;
    if (!ReadLayer(tensors, 3, &layer)) return kTfLiteOk;
    if (!ReadWindow(params, tensors.input(0), tensors.input(1), tensors.output(), &window_)) return kTfLiteOk;
    if (tensors.input(1)->dims->data[0] != 1 || layer.channels != window_.output_channels ||
        layer.channels % window_.input_channels != 0) {
      return kTfLiteOk;
    }
    TF_LITE_ENSURE_OK(context, rescaled_.Prepare(context, layer, params.activation, tensors.output(), is_narrow));
    if (!*is_narrow) return kTfLiteOk;
    const size_t bytes = static_cast<size_t>(layer.elements) * static_cast<size_t>(window_.input_channels);
    return context->RequestScratchBufferInArena(context, bytes, &patch_);
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    static constexpr narrow_windowed* kPortable[] = {
        narrow_depthwise_conv_2d_shift, narrow_depthwise_conv_2d_multiply, narrow_depthwise_conv_2d_wide};
    static constexpr narrow_windowed* kFours[] = {
        narrow_depthwise_conv_2d_in_place_shift, narrow_depthwise_conv_2d_in_place_multiply,
        narrow_depthwise_conv_2d_in_place_wide};
    const bool fours =
        kHasDsp && window_.output_channels % 4 == 0 && window_.output_channels == window_.input_channels;
    int8_t* const output = Output(context, node);
    auto* const patch = static_cast<int8_t*>(context->GetScratchBuffer(context, patch_));
    (fours ? kFours : kPortable)[static_cast<int>(rescaled_.end)](
        &window_, &rescaled_.rescale, Input(context, node, 1), Input(context, node, 0), output, patch);
    const int32_t pixels = window_.batches * window_.output_height * window_.output_width;
    Activate(rescaled_.low, rescaled_.high, pixels * window_.output_channels, output);
    return kTfLiteOk;
  }

 private:
  narrow_window window_;
  Rescaled rescaled_;
  int patch_;
};

}  // namespace

TFLMRegistration Register_DEPTHWISE_CONV_2D() {
  return Registration<DepthwiseConv2D, tflite::Register_DEPTHWISE_CONV_2D>::Get();
}

}  // namespace narrow
