// SPDX-License-Identifier: Apache-2.0
// CONV_2D. A 1x1 kernel with stride 1 is a dense layer on every pixel.
#include "narrow_core.h"
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "narrow_windows.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/conv.h"

namespace narrow {
namespace {

class Conv2D {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteConvParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    Layer layer;
    if (!ReadLayer(tensors, 0, &layer)) return kTfLiteOk;
    const TfLiteTensor* const weights = tensors.input(1);
    if (!ReadWindow(params, tensors.input(0), weights, tensors.output(), &window_)) return kTfLiteOk;
    if (weights->dims->data[3] != window_.input_channels || layer.channels != window_.output_channels) {
      return kTfLiteOk;  // grouped
    }
    TF_LITE_ENSURE_OK(context, rescaled_.Prepare(context, layer, params.activation, tensors.output(), is_narrow));
    if (!*is_narrow || UsesDense()) return kTfLiteOk;
    const size_t depth = static_cast<size_t>(layer.elements);
    return context->RequestScratchBufferInArena(context, kHasDsp ? 9 * ((depth + 3) & ~size_t{3}) : depth, &scratch_);
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    static constexpr narrow_windowed* kWindowed[] = {
        kHasDsp ? narrow_conv_2d_in_place_shift : narrow_conv_2d_shift,
        kHasDsp ? narrow_conv_2d_in_place_multiply : narrow_conv_2d_multiply,
        kHasDsp ? narrow_conv_2d_in_place_wide : narrow_conv_2d_wide};
    static constexpr narrow_dense* kDense[] = {
        kHasDsp ? narrow_fully_connected_in_place_shift : narrow_fully_connected_shift,
        kHasDsp ? narrow_fully_connected_in_place_multiply : narrow_fully_connected_multiply,
        kHasDsp ? narrow_fully_connected_in_place_wide : narrow_fully_connected_wide};
    const int8_t* const input = Input(context, node, 0);
    const int8_t* const weights = Input(context, node, 1);
    int8_t* const output = Output(context, node);
    const int end = static_cast<int>(rescaled_.end);
    if (UsesDense()) {
      kDense[end](Pixels(), window_.input_channels, window_.output_channels, &rescaled_.rescale, weights, input,
                  output);
    } else {
      auto* const scratch = static_cast<int8_t*>(context->GetScratchBuffer(context, scratch_));
      kWindowed[end](&window_, &rescaled_.rescale, weights, input, output, scratch);
    }
    Activate(rescaled_.low, rescaled_.high, Pixels() * window_.output_channels, output);
    return kTfLiteOk;
  }

 private:
  int32_t Pixels() const { return window_.batches * window_.output_height * window_.output_width; }

  // Without DSP there is nothing to gain from several pixels at a time.
  bool UsesDense() const { return IsPointwise(window_) && !(kHasDsp && Pixels() >= 4); }

  narrow_window window_;
  Rescaled rescaled_;
  int scratch_;
};

}  // namespace

TFLMRegistration Register_CONV_2D() { return Registration<Conv2D, tflite::Register_CONV_2D>::Get(); }

}  // namespace narrow
