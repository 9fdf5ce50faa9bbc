// SPDX-License-Identifier: Apache-2.0
#include "narrow_operator.h"

namespace narrow {
namespace {

const TfLiteAffineQuantization* Quantization(const TfLiteTensor* tensor) {
  if (tensor->quantization.type != kTfLiteAffineQuantization) return nullptr;
  const auto* affine = static_cast<const TfLiteAffineQuantization*>(tensor->quantization.params);
  return affine == nullptr || affine->scale == nullptr || affine->scale->size < 1 ? nullptr : affine;
}

}  // namespace

bool IsInt8Activation(const TfLiteTensor* tensor) {
  if (tensor == nullptr || tensor->type != kTfLiteInt8) return false;
  const TfLiteAffineQuantization* affine = Quantization(tensor);
  return affine != nullptr && affine->scale->size == 1 && tensor->params.zero_point >= -128 &&
         tensor->params.zero_point <= 127;
}

bool ReadLayer(const Tensors& tensors, int channel_axis, Layer* layer) {
  const TfLiteTensor* const input = tensors.input(0);
  const TfLiteTensor* const weights = tensors.input(1);
  const TfLiteTensor* const bias = tensors.input(2);
  const TfLiteTensor* const output = tensors.output();
  if (!IsInt8Activation(input) || !IsInt8Activation(output)) return false;
  if (weights == nullptr || weights->type != kTfLiteInt8 || !tensors.IsConstant(1)) return false;
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
      (bias->type != kTfLiteInt32 || !tensors.IsConstant(2) || tflite::NumElements(bias) != channels)) {
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
