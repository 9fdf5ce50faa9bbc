// SPDX-License-Identifier: Apache-2.0
// SVDF with one scale for each tensor of weights.
#include <cstring>
#include <limits>

#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/svdf.h"

namespace narrow {
namespace {

enum InputIndex { kInput, kFeatures, kTime, kBias, kState };

class Svdf {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteSVDFParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    if (!HasTypes(tensors) || !ReadSizes(params, tensors)) return kTfLiteOk;
    const auto scale = [&](int i) { return static_cast<double>(tensors.input(i)->params.scale); };
    const double output_scale = tensors.output()->params.scale;
    state_type_ = tensors.input(kState)->type;
    input_zero_point_ = tensors.input(kInput)->params.zero_point;
    state_zero_point_ = tensors.input(kState)->params.zero_point;
    output_zero_point_ = tensors.output()->params.zero_point;
    *is_narrow = Recover(scale(kInput) * scale(kFeatures) / scale(kState), &to_state_) &&
                 Recover(scale(kState) * scale(kTime) / output_scale, &to_output_) && to_state_.CanApply() &&
                 to_output_.CanApply();
    return kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    if (state_type_ == kTfLiteInt8) {
      Run<int8_t>(context, node);
    } else {
      Run<int16_t>(context, node);
    }
    return kTfLiteOk;
  }

 private:
  static bool HasTypes(const Tensors& tensors) {
    const TfLiteTensor* const state = tensors.input(kState);
    const TfLiteTensor* const time = tensors.input(kTime);
    const TfLiteTensor* const bias = tensors.input(kBias);
    if (state == nullptr || !state->is_variable || (state->type != kTfLiteInt8 && state->type != kTfLiteInt16)) {
      return false;
    }
    return IsInt8Activation(tensors.input(kInput)) && IsMatrix(tensors, kFeatures) &&
           IsActivation(state, state->type) && IsActivation(time, state->type) && time->params.zero_point == 0 &&
           tensors.IsConstant(kTime) && IsInt8Activation(tensors.output()) &&
           (bias == nullptr || (bias->type == kTfLiteInt32 && tensors.IsConstant(kBias)));
  }

  bool ReadSizes(const TfLiteSVDFParams& params, const Tensors& tensors) {
    constexpr int32_t kMostFeatures = 1 << 15;  // their sum fits 32 bits
    const TfLiteIntArray& features = *tensors.input(kFeatures)->dims;
    const TfLiteIntArray& time = *tensors.input(kTime)->dims;
    if (time.size != 2 || features.data[0] != time.data[0] || params.rank < 1) return false;
    filters_ = features.data[0];
    features_ = features.data[1];
    memory_ = time.data[1];
    rank_ = params.rank;
    if (filters_ < 1 || features_ < 1 || features_ > kMostFeatures || memory_ < 1 || filters_ % rank_ != 0) {
      return false;
    }
    const int64_t inputs = tflite::NumElements(tensors.input(kInput));
    const TfLiteTensor* const bias = tensors.input(kBias);
    rows_ = static_cast<int32_t>(inputs / features_);
    return inputs % features_ == 0 && (bias == nullptr || tflite::NumElements(bias) == filters_ / rank_) &&
           tflite::NumElements(tensors.input(kState)) == int64_t{rows_} * filters_ * memory_ &&
           tflite::NumElements(tensors.output()) == int64_t{rows_} * (filters_ / rank_);
  }

  template <class State>
  void Run(TfLiteContext* context, TfLiteNode* node) const {
    const auto* const time = reinterpret_cast<const State*>(Input(context, node, kTime));
    const TfLiteEvalTensor* const biases =
        node->inputs->data[kBias] < 0 ? nullptr : tflite::micro::GetEvalInput(context, node, kBias);
    const int32_t* const bias = biases == nullptr ? nullptr : tflite::micro::GetTensorData<int32_t>(biases);
    auto* state = tflite::micro::GetTensorData<State>(tflite::micro::GetMutableEvalInput(context, node, kState));
    const int8_t* input = Input(context, node, kInput);
    int8_t* output = Output(context, node);
    for (int32_t row = 0; row < rows_; ++row, input += features_, state += filters_ * memory_) {
      Remember(Input(context, node, kFeatures), input, state);
      for (int32_t unit = 0; unit < filters_ / rank_; ++unit) {
        const int32_t first = unit * rank_ * memory_;
        const int32_t acc = Filter(time + first, state + first, bias == nullptr ? 0 : bias[unit]);
        const int64_t y = to_output_.Apply(acc) + output_zero_point_;
        *output++ = static_cast<int8_t>(y < -128 ? -128 : y > 127 ? 127 : y);
      }
    }
  }

  // Appends the newest output of each filter over features to its last ones.
  template <class State>
  void Remember(const int8_t* features, const int8_t* input, State* state) const {
    constexpr int64_t kLow = std::numeric_limits<State>::min(), kHigh = std::numeric_limits<State>::max();
    for (int32_t filter = 0; filter < filters_; ++filter, features += features_, state += memory_) {
      int32_t acc = 0;
      for (int32_t i = 0; i < features_; ++i) acc += (input[i] - input_zero_point_) * features[i];
      const int64_t newest = to_state_.Apply(acc) + state_zero_point_;
      memmove(state, state + 1, static_cast<size_t>(memory_ - 1) * sizeof(State));
      state[memory_ - 1] = static_cast<State>(newest < kLow ? kLow : newest > kHigh ? kHigh : newest);
    }
  }

  // The sum over time and ranks, which wraps as TFLM's does.
  template <class State>
  int32_t Filter(const State* time, const State* state, int32_t bias) const {
    auto acc = static_cast<uint32_t>(bias);
    for (int32_t i = 0; i < rank_ * memory_; ++i) {
      acc += static_cast<uint32_t>(time[i]) * static_cast<uint32_t>(state[i] - state_zero_point_);
    }
    return static_cast<int32_t>(acc);
  }

  Factor to_state_, to_output_;
  TfLiteType state_type_;
  int32_t rows_, filters_, features_, memory_, rank_;
  int32_t input_zero_point_, state_zero_point_, output_zero_point_;
};

}  // namespace

TFLMRegistration Register_SVDF() { return Registration<Svdf, tflite::Register_SVDF>::Get(); }

}  // namespace narrow
