// SPDX-License-Identifier: Apache-2.0
// QUANTIZE from integers to integers, of all the types that TFLM takes; from float it is TFLM's own.
#include <limits>

#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "narrow_terms.h"
#include "tensorflow/lite/micro/kernels/micro_ops.h"

namespace narrow {
namespace {

class Quantize {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const Tensors tensors(context, node);
    const TfLiteTensor* const x = tensors.input(0);
    const TfLiteTensor* const y = tensors.output();
    if (x == nullptr || y == nullptr || !IsActivation(x, x->type) || !IsActivation(y, y->type)) return kTfLiteOk;
    loop_ = LoopBetween(x->type, y->type);
    count_ = static_cast<int32_t>(tflite::NumElements(x));
    input_zero_point_ = x->params.zero_point;
    output_zero_point_ = y->params.zero_point;
    const double factor = static_cast<double>(x->params.scale) / static_cast<double>(y->params.scale);
    *is_narrow = loop_ != nullptr && Recover(factor, &factor_) && factor_.CanApply();
    const Addition::Term only = {factor, 1, input_zero_point_}, none = {0.0, 1, 0};
    if (loop_ == Loop<int8_t, int8_t> && sum_.Fold(only, none, output_zero_point_) && !sum_.is_wide) loop_ = nullptr;
    return kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const void* const input = tflite::micro::GetEvalInput(context, node, 0)->data.data;
    void* const output = tflite::micro::GetEvalOutput(context, node, 0)->data.data;
    if (loop_ != nullptr) {
      loop_(*this, input, output);
    } else {
      narrow_quantize(count_, static_cast<int32_t>(sum_.factor_a), static_cast<int32_t>(sum_.start), sum_.shift,
                      static_cast<const int8_t*>(input), static_cast<int8_t*>(output));
    }
    return kTfLiteOk;
  }

 private:
  template <class X, class Y>
  static void Loop(const Quantize& self, const void* input, void* output) {
    const auto* const x = static_cast<const X*>(input);
    auto* const y = static_cast<Y*>(output);
    constexpr int64_t kLow = std::numeric_limits<Y>::min(), kHigh = std::numeric_limits<Y>::max();
    for (int32_t i = 0; i < self.count_; ++i) {
      const int64_t value = self.factor_.Apply(int64_t{x[i]} - self.input_zero_point_) + self.output_zero_point_;
      y[i] = static_cast<Y>(value < kLow ? kLow : value > kHigh ? kHigh : value);
    }
  }

  using LoopFunction = void(const Quantize&, const void*, void*);

  // nullptr for types that TFLM refuses.
  static LoopFunction* LoopBetween(TfLiteType x, TfLiteType y) {
    const auto is = [&](TfLiteType from, TfLiteType to) { return x == from && y == to; };
    if (is(kTfLiteInt8, kTfLiteInt8)) return Loop<int8_t, int8_t>;
    if (is(kTfLiteInt8, kTfLiteUInt8)) return Loop<int8_t, uint8_t>;
    if (is(kTfLiteUInt8, kTfLiteInt8)) return Loop<uint8_t, int8_t>;
    if (is(kTfLiteInt8, kTfLiteInt16)) return Loop<int8_t, int16_t>;
    if (is(kTfLiteInt16, kTfLiteInt8)) return Loop<int16_t, int8_t>;
    if (is(kTfLiteInt16, kTfLiteInt16)) return Loop<int16_t, int16_t>;
    if (is(kTfLiteInt8, kTfLiteInt32)) return Loop<int8_t, int32_t>;
    if (is(kTfLiteInt16, kTfLiteInt32)) return Loop<int16_t, int32_t>;
    if (is(kTfLiteInt32, kTfLiteInt8)) return Loop<int32_t, int8_t>;
    if (is(kTfLiteInt32, kTfLiteInt16)) return Loop<int32_t, int16_t>;
    return nullptr;
  }

  Factor factor_;
  int32_t count_, input_zero_point_, output_zero_point_;
  Addition sum_;        // int8 to int8
  LoopFunction* loop_;  // nullptr for narrow_quantize
};

}  // namespace

TFLMRegistration Register_QUANTIZE() { return Registration<Quantize, tflite::Register_QUANTIZE>::Get(); }

}  // namespace narrow
