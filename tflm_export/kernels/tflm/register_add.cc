// SPDX-License-Identifier: Apache-2.0
// ADD.
#include "narrow_two_terms.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/add.h"

namespace narrow {

TFLMRegistration Register_ADD() { return Registration<TwoTerms<TfLiteAddParams, 1>, tflite::Register_ADD>::Get(); }

}  // namespace narrow
