// SPDX-License-Identifier: Apache-2.0
// The narrow kernels as registrations for TensorFlow Lite Micro:
//
//   resolver.AddConv2D(narrow::Register_CONV_2D());
//
// An operator whose int8 rescales all lie on a grid of at most 16 bits runs in a narrow kernel; every other one runs as
// if the stock registration of its type had been given. Which of both is decided for each operator in Prepare, from its
// scales. See docs/tflm.md.
#ifndef NARROW_REGISTRATIONS_H
#define NARROW_REGISTRATIONS_H

#include "tensorflow/lite/micro/micro_common.h"

namespace narrow {

TFLMRegistration Register_CONV_2D();
TFLMRegistration Register_DEPTHWISE_CONV_2D();
TFLMRegistration Register_FULLY_CONNECTED();
TFLMRegistration Register_TRANSPOSE_CONV();
TFLMRegistration Register_ADD();
TFLMRegistration Register_SUB();
TFLMRegistration Register_MUL();
TFLMRegistration Register_MEAN();
TFLMRegistration Register_QUANTIZE();
TFLMRegistration Register_SVDF();
TFLMRegistration Register_UNIDIRECTIONAL_SEQUENCE_LSTM();

}  // namespace narrow

#endif  // NARROW_REGISTRATIONS_H
