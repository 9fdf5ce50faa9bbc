// SPDX-License-Identifier: Apache-2.0
// SUB.
#include "narrow_aligned_sum.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/micro/kernels/micro_ops.h"

namespace narrow {

TFLMRegistration Register_SUB() { return Registration<AlignedSum<TfLiteSubParams, -1>, tflite::Register_SUB>::Get(); }

}  // namespace narrow
