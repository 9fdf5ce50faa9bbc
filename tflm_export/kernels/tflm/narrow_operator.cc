// SPDX-License-Identifier: Apache-2.0
#include "narrow_operator.h"

namespace narrow {
namespace {

const TfLiteAffineQuantization* Quantization(const TfLiteTensor* tensor) {
  if (tensor->quantization.type != kTfLiteAffineQuantization) return nullptr;
  const auto* affine = static_cast<const TfLiteAffineQuantization*>(tensor->quantization.params);
  return affine == nullptr || affine->scale == nullptr || affine->scale->size < 1 ? nullptr : affine;
}

bool IsWithin(int32_t zero_point, TfLiteType type) {
  switch (type) {
    case kTfLiteInt8:
      return zero_point >= -128 && zero_point <= 127;
    case kTfLiteUInt8:
      return zero_point >= 0 && zero_point <= 255;
    case kTfLiteInt16:
      return zero_point >= -32768 && zero_point <= 32767;
    default:
      return zero_point == 0;
  }
}

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

}  // namespace

bool IsActivation(const TfLiteTensor* tensor, TfLiteType type) {
  if (tensor == nullptr || tensor->type != type) return false;
  const TfLiteAffineQuantization* affine = Quantization(tensor);
  return affine != nullptr && affine->scale->size == 1 && IsWithin(tensor->params.zero_point, type);
}

bool IsMatrix(const Tensors& tensors, int i) {
  const TfLiteTensor* const tensor = tensors.input(i);
  return IsInt8Activation(tensor) && tensor->params.zero_point == 0 && tensor->dims->size == 2 && tensors.IsConstant(i);
}

bool Pairing::Read(const Tensors& tensors) {
  const int64_t outputs = tflite::NumElements(tensors.output());
  if (outputs < 1) return false;
  for (whole = 0; whole < 2; ++whole) {
    const TfLiteTensor* const repeated = tensors.input(1 - whole);
    if (tflite::NumElements(tensors.input(whole)) != outputs || !IsRepeated(repeated, tensors.output())) continue;
    count = static_cast<int32_t>(tflite::NumElements(repeated));
    repeats = static_cast<int32_t>(outputs / count);
    return true;
  }
  return false;
}

bool ReadLayer(const Tensors& tensors, int channel_axis, Layer* layer, const Operands& operands) {
  const TfLiteTensor* const input = tensors.input(operands.input);
  const TfLiteTensor* const weights = tensors.input(operands.weights);
  const TfLiteTensor* const bias = tensors.input(operands.bias);
  const TfLiteTensor* const output = tensors.output();
  if (!IsInt8Activation(input) || !IsInt8Activation(output)) return false;
  if (weights == nullptr || weights->type != kTfLiteInt8 || !tensors.IsConstant(operands.weights)) return false;
  const TfLiteAffineQuantization* const affine = Quantization(weights);
  if (affine == nullptr || weights->dims->size <= channel_axis) return false;
  const int32_t channels = weights->dims->data[channel_axis];
  const int32_t elements = channels < 1 ? 0 : static_cast<int32_t>(tflite::NumElements(weights) / channels);
  const int32_t scales = affine->scale->size;
  if (elements < 1 || (scales != 1 && (scales != channels || affine->quantized_dimension != channel_axis))) {
    return false;
  }
  for (int i = 0; affine->zero_point != nullptr && i < affine->zero_point->size; ++i) {
    if (affine->zero_point->data[i] != 0) return false;
  }
  if (bias != nullptr &&
      (bias->type != kTfLiteInt32 || !tensors.IsConstant(operands.bias) || tflite::NumElements(bias) != channels)) {
    return false;
  }
  layer->input_scale = input->params.scale;
  layer->output_scale = output->params.scale;
  layer->weight_scales = affine->scale->data;
  layer->scales = scales;
  layer->input_zero_point = input->params.zero_point;
  layer->output_zero_point = output->params.zero_point;
  layer->weights = weights->data.int8;
  layer->channels = channels;
  layer->elements = elements;
  layer->channel_step = channel_axis == 0 ? elements : 1;
  layer->element_step = channel_axis == 0 ? 1 : channels;
  layer->bias = bias == nullptr ? nullptr : bias->data.i32;
  layer->is_centred = false;
  return true;
}

TfLiteStatus Rescaled::Prepare(TfLiteContext* context, const Layer& layer, TfLiteFusedActivation activation,
                               TfLiteTensor* output, bool* is_narrow) {
  *is_narrow = layer.ChooseEnd(&end);
  if (!*is_narrow) return kTfLiteOk;
  const auto allocate = [&](size_t bytes) {
    return context->AllocatePersistentBuffer(context, bytes * static_cast<size_t>(layer.channels));
  };
  const bool multiplies = end != End::kShift, folds = end == End::kMultiply;
  auto* const start = static_cast<int32_t*>(allocate(sizeof(int32_t)));
  auto* const multiplier = static_cast<int32_t*>(multiplies ? allocate(sizeof(int32_t)) : nullptr);
  auto* const fold = static_cast<int32_t*>(folds ? allocate(sizeof(int32_t)) : nullptr);
  auto* const shift = static_cast<int8_t*>(allocate(sizeof(int8_t)));
  TF_LITE_ENSURE(context, start != nullptr && shift != nullptr);
  TF_LITE_ENSURE(context, (multiplier != nullptr) == multiplies && (fold != nullptr) == folds);
  layer.Write(end, start, multiplier, fold, shift);
  rescale = {start, multiplier, fold, shift, layer.output_zero_point};
  return ReadActivation(context, activation, output, &low, &high);
}

TfLiteStatus ReadActivation(TfLiteContext* context, TfLiteFusedActivation activation, TfLiteTensor* output,
                            int8_t* low, int8_t* high) {
  int32_t bounds[2];
  TF_LITE_ENSURE_OK(
      context, tflite::CalculateActivationRangeQuantized(context, activation, output, &bounds[0], &bounds[1]));
  *low = static_cast<int8_t>(bounds[0]);
  *high = static_cast<int8_t>(bounds[1]);
  return kTfLiteOk;
}

void Activate(int8_t low, int8_t high, int32_t count, int8_t* output) {
  if (low != -128 || high != 127) narrow_clamp(count, low, high, output, output);
}

}  // namespace narrow
