// SPDX-License-Identifier: Apache-2.0
// ADD, with both terms of the output's shape or one of them repeated along its first axes.
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/add.h"

namespace narrow {
namespace {

// Whether a tensor, without its leading axes of size 1, has the shape of the last axes of another one.
bool IsRepeated(const TfLiteTensor* tensor, const TfLiteTensor* output) {
  const TfLiteIntArray& shape = *tensor->dims;
  const TfLiteIntArray& whole = *output->dims;
  int first = 0;
  while (first < shape.size && shape.data[first] == 1) ++first;
  const int axes = shape.size - first;
  if (axes > whole.size) return false;
  for (int i = 0; i < axes; ++i) {
    if (shape.data[first + i] != whole.data[whole.size - axes + i]) return false;
  }
  return true;
}

class Add {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteAddParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    TfLiteTensor* const y = tensors.output();
    if (!IsInt8Activation(tensors.input(0)) || !IsInt8Activation(tensors.input(1)) || !IsInt8Activation(y)) {
      return kTfLiteOk;
    }
    const int64_t outputs = tflite::NumElements(y);
    for (int whole = 0; whole < 2 && !*is_narrow; ++whole) {
      const TfLiteTensor* const a = tensors.input(whole);
      const TfLiteTensor* const b = tensors.input(1 - whole);
      if (outputs < 1 || tflite::NumElements(a) != outputs || !IsRepeated(b, y)) continue;
      whole_ = whole;
      count_ = static_cast<int32_t>(tflite::NumElements(b));
      repeats_ = static_cast<int32_t>(outputs / count_);
      const double scale = y->params.scale;
      *is_narrow = sum_.Fold(a->params.scale / scale, b->params.scale / scale, a->params.zero_point,
                             b->params.zero_point, y->params.zero_point);
    }
    return *is_narrow ? ReadActivation(context, params.activation, y, &low_, &high_) : kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const int8_t* const a = Input(context, node, whole_);
    const int8_t* const b = Input(context, node, 1 - whole_);
    int8_t* const output = Output(context, node);
    if (sum_.is_wide) {
      narrow_add_wide(repeats_, count_, sum_.factor_a, sum_.factor_b, sum_.start, sum_.shift, a, b, output);
    } else {
      narrow_add(repeats_, count_, static_cast<int32_t>(sum_.factor_a), static_cast<int32_t>(sum_.factor_b),
                 static_cast<int32_t>(sum_.start), sum_.shift, a, b, output);
    }
    Activate(low_, high_, repeats_ * count_, output);
    return kTfLiteOk;
  }

 private:
  Addition sum_;
  int32_t repeats_, count_;
  int whole_;  // the input that has the output's shape
  int8_t low_, high_;
};

}  // namespace

TFLMRegistration Register_ADD() { return Registration<Add, tflite::Register_ADD>::Get(); }

}  // namespace narrow
