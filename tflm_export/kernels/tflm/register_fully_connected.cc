// SPDX-License-Identifier: Apache-2.0
// FULLY_CONNECTED.
#include "narrow_core.h"
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/fully_connected.h"

namespace narrow {
namespace {

class FullyConnected {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteFullyConnectedParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    Layer layer;
    if (params.weights_format != kTfLiteFullyConnectedWeightsFormatDefault || !ReadLayer(tensors, 0, &layer) ||
        tensors.input(1)->dims->size != 2) {
      return kTfLiteOk;
    }
    const int64_t inputs = tflite::NumElements(tensors.input(0));
    depth_ = layer.elements;
    channels_ = layer.channels;
    rows_ = static_cast<int32_t>(inputs / depth_);
    if (inputs % depth_ != 0 || tflite::NumElements(tensors.output()) != int64_t{rows_} * channels_) return kTfLiteOk;
    return rescaled_.Prepare(context, layer, params.activation, tensors.output(), is_narrow);
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    static constexpr narrow_dense* kEnds[] = {
        kHasDsp ? narrow_fully_connected_in_place_shift : narrow_fully_connected_shift,
        kHasDsp ? narrow_fully_connected_in_place_multiply : narrow_fully_connected_multiply,
        kHasDsp ? narrow_fully_connected_in_place_wide : narrow_fully_connected_wide};
    int8_t* const output = Output(context, node);
    kEnds[static_cast<int>(rescaled_.end)](rows_, depth_, channels_, &rescaled_.rescale, Input(context, node, 1),
                                           Input(context, node, 0), output);
    Activate(rescaled_.low, rescaled_.high, rows_ * channels_, output);
    return kTfLiteOk;
  }

 private:
  int32_t rows_, depth_, channels_;
  Rescaled rescaled_;
};

}  // namespace

TFLMRegistration Register_FULLY_CONNECTED() {
  return Registration<FullyConnected, tflite::Register_FULLY_CONNECTED>::Get();
}

}  // namespace narrow
