// SPDX-License-Identifier: Apache-2.0
// What ADD and SUB share: both terms have the output's shape, or one of them is repeated along its first axes.
#ifndef NARROW_TWO_TERMS_H
#define NARROW_TWO_TERMS_H

#include "narrow_operator.h"
#include "narrow_terms.h"

namespace narrow {

// Params: the operator's. kSign: 1 or -1, of the second term.
template <class Params, int kSign>
class TwoTerms {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const Params*>(node->builtin_data);
    const Tensors tensors(context, node);
    TfLiteTensor* const y = tensors.output();
    if (!IsInt8Activation(tensors.input(0)) || !IsInt8Activation(tensors.input(1)) || !IsInt8Activation(y) ||
        !pairing_.Read(tensors)) {
      return kTfLiteOk;
    }
    Addition::Term terms[2];
    for (int i = 0; i < 2; ++i) {
      const TfLiteQuantizationParams& x = tensors.input(i)->params;
      terms[i] = {static_cast<double>(x.scale) / static_cast<double>(y->params.scale), i == 0 ? 1 : kSign,
                  x.zero_point};
    }
    *is_narrow = sum_.Fold(terms[pairing_.whole], terms[1 - pairing_.whole], y->params.zero_point);
    return *is_narrow ? ReadActivation(context, params.activation, y, &low_, &high_) : kTfLiteOk;
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const int32_t repeats = pairing_.repeats, count = pairing_.count;
    const int8_t* const a = Input(context, node, pairing_.whole);
    const int8_t* const b = Input(context, node, 1 - pairing_.whole);
    int8_t* const output = Output(context, node);
    if (sum_.is_wide) {
      narrow_add_wide(repeats, count, sum_.factor_a, sum_.factor_b, sum_.start, sum_.shift, a, b, output);
    } else {
      narrow_add(repeats, count, static_cast<int32_t>(sum_.factor_a), static_cast<int32_t>(sum_.factor_b),
                 static_cast<int32_t>(sum_.start), sum_.shift, a, b, output);
    }
    Activate(low_, high_, repeats * count, output);
    return kTfLiteOk;
  }

 private:
  Addition sum_;  // of the input that has the output's shape and the other one
  Pairing pairing_;
  int8_t low_, high_;
};

}  // namespace narrow

#endif  // NARROW_TWO_TERMS_H
