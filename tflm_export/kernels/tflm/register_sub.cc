// SPDX-License-Identifier: Apache-2.0
// SUB.
#include "narrow_two_terms.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/micro_ops.h"

namespace narrow {

TFLMRegistration Register_SUB() { return Registration<TwoTerms<TfLiteSubParams, -1>, tflite::Register_SUB>::Get(); }

}  // namespace narrow
