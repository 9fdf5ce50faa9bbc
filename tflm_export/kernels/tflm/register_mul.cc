// SPDX-License-Identifier: Apache-2.0
// MUL, with both factors of the output's shape or one of them repeated along its first axes.
#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "narrow_terms.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/mul.h"

namespace narrow {
namespace {

class Mul {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteMulParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    TfLiteTensor* const y = tensors.output();
    if (!IsInt8Activation(tensors.input(0)) || !IsInt8Activation(tensors.input(1)) || !IsInt8Activation(y) ||
        !pairing_.Read(tensors)) {
      return kTfLiteOk;
    }
    const TfLiteQuantizationParams& a = tensors.input(pairing_.whole)->params;
    const TfLiteQuantizationParams& b = tensors.input(1 - pairing_.whole)->params;
    const double factor = static_cast<double>(a.scale) * static_cast<double>(b.scale) /
                          static_cast<double>(y->params.scale);
    zero_points_[0] = a.zero_point;
    zero_points_[1] = b.zero_point;
    zero_point_ = y->params.zero_point;
    *is_narrow = product_.Fold(factor, a.zero_point, b.zero_point, zero_point_);
    return *is_narrow ? ReadActivation(context, params.activation, y, &low_, &high_) : kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    static constexpr narrow_product* kEnds[] = {narrow_mul_shift, narrow_mul_multiply, narrow_mul_wide};
    const Constants& constants = product_.constants;
    const narrow_rescale rescale = {&constants.start, &constants.multiplier, &constants.fold, &constants.shift,
                                    zero_point_};
    int8_t* const output = Output(context, node);
    kEnds[static_cast<int>(product_.end)](pairing_.repeats, pairing_.count, zero_points_, &rescale,
                                          Input(context, node, pairing_.whole),
                                          Input(context, node, 1 - pairing_.whole), output);
    Activate(low_, high_, pairing_.repeats * pairing_.count, output);
    return kTfLiteOk;
  }

 private:
  Multiplication product_;
  Pairing pairing_;
  int32_t zero_points_[2];  // of the input that has the output's shape and the other one
  int32_t zero_point_;
  int8_t low_, high_;
};

}  // namespace

TFLMRegistration Register_MUL() { return Registration<Mul, tflite::Register_MUL>::Get(); }

}  // namespace narrow
