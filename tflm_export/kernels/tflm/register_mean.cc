// SPDX-License-Identifier: Apache-2.0
// MEAN over axes that lie side by side.
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "narrow_terms.h"
#include "tensorflow/lite/micro/kernels/reduce.h"

namespace narrow {
namespace {

class Mean {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const Tensors tensors(context, node);
    const TfLiteTensor* const x = tensors.input(0);
    const TfLiteTensor* const y = tensors.output();
    if (!IsInt8Activation(x) || !IsInt8Activation(y) || !ReadAxes(tensors)) return kTfLiteOk;
    if (tflite::NumElements(y) != int64_t{outer_} * inner_) return kTfLiteOk;
    const double factor = static_cast<double>(x->params.scale) / static_cast<double>(y->params.scale);
    *is_narrow = average_.Fold(factor, count_, x->params.zero_point, y->params.zero_point);
    return kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const int8_t* const input = Input(context, node, 0);
    int8_t* const output = Output(context, node);
    if (average_.is_wide) {
      narrow_mean_wide(outer_, count_, inner_, average_.factor, average_.start, average_.divisor, input, output);
    } else {
      narrow_mean(outer_, count_, inner_, static_cast<int32_t>(average_.factor), static_cast<int32_t>(average_.start),
                  static_cast<int32_t>(average_.divisor), input, output);
    }
    return kTfLiteOk;
  }

 private:
  // Returns false unless the axes are constant and lie side by side, but for those of size 1.
  bool ReadAxes(const Tensors& tensors) {
    constexpr int64_t kMostElements = 1 << 23;  // their sum fits 32 bits
    const TfLiteIntArray& shape = *tensors.input(0)->dims;
    const TfLiteTensor* const axes = tensors.input(1);
    if (axes == nullptr || axes->type != kTfLiteInt32 || !tensors.IsConstant(1) || shape.size > 31) return false;
    uint32_t reduced = 0;
    for (int64_t i = 0; i < tflite::NumElements(axes); ++i) {
      const int32_t axis = axes->data.i32[i], rank = shape.size;
      if (axis < -rank || axis >= rank) return false;
      reduced |= uint32_t{1} << (axis < 0 ? axis + rank : axis);
    }
    int64_t sizes[3] = {1, 1, 1};  // before the axes, of them, behind them
    int part = 0;
    for (int i = 0; i < shape.size; ++i) {
      if (shape.data[i] == 1) continue;
      const bool is_reduced = (reduced >> i & 1) != 0;
      if (part == (is_reduced ? 0 : 1)) ++part;
      if (shape.data[i] < 1 || (is_reduced && part == 2)) return false;
      sizes[part] *= shape.data[i];
    }
    outer_ = static_cast<int32_t>(sizes[0]);
    count_ = static_cast<int32_t>(sizes[1]);
    inner_ = static_cast<int32_t>(sizes[2]);
    return sizes[1] <= kMostElements;
  }

  Average average_;
  int32_t outer_, count_, inner_;
};

}  // namespace

TFLMRegistration Register_MEAN() { return Registration<Mean, tflite::Register_MEAN>::Get(); }

}  // namespace narrow
