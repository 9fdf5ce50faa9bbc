// SPDX-License-Identifier: Apache-2.0
// UNIDIRECTIONAL_SEQUENCE_LSTM with int8 activations and int16 gates. Logistic and tanh are TFLM's own.
#include <cmath>

#include "narrow_operator.h"
#include "narrow_registrations.h"
#include "tensorflow/lite/c/builtin_op_data.h"
#include "tensorflow/lite/kernels/internal/reference/integer_ops/logistic.h"
#include "tensorflow/lite/kernels/internal/reference/integer_ops/tanh.h"
#include "tensorflow/lite/micro/kernels/lstm_shared.h"
#include "tensorflow/lite/micro/kernels/micro_ops.h"

namespace narrow {
namespace {

constexpr int kGates = 4;  // input, forget, cell and output gate, as their weights and biases stand among the inputs
enum Gate { kInputGate, kForgetGate, kCellGate, kOutputGate };
constexpr int kInputWeights = tflite::kLstmInputToInputWeightsTensor;
constexpr int kHiddenWeights = tflite::kLstmRecurrentToInputWeightsTensor;
constexpr int kBiases = tflite::kLstmInputGateBiasTensor;
constexpr int kHidden = tflite::kLstmOutputStateTensor;
constexpr int kCell = tflite::kLstmCellStateTensor;

int16_t SaturateTo16(int64_t x) { return static_cast<int16_t>(x < -32768 ? -32768 : x > 32767 ? 32767 : x); }

bool IsConstantVector(const Tensors& tensors, int i, int32_t size) {
  const TfLiteTensor* const tensor = tensors.input(i);
  return tensor != nullptr && tensor->type == kTfLiteInt32 && tensors.IsConstant(i) &&
         tflite::NumElements(tensor) == size;
}

// x * factor by element; both int16.
void Multiply(const Factor& factor, int32_t count, const int16_t* a, int16_t* b) {
  for (int32_t i = 0; i < count; ++i) b[i] = SaturateTo16(factor.Apply(a[i] * b[i]));
}

class Lstm {
 public:
  TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node, bool* is_narrow) {
    const auto& params = *static_cast<const TfLiteUnidirectionalSequenceLSTMParams*>(node->builtin_data);
    const Tensors tensors(context, node);
    if (params.activation != kTfLiteActTanh || !HasStates(node, tensors) || !ReadSizes(params.time_major, tensors)) {
      return kTfLiteOk;
    }
    *is_narrow = ReadFactors(tensors) && ReadCell(params.cell_clip, tensors.input(kCell)->params.scale);
    if (!*is_narrow) return kTfLiteOk;
    input_zero_point_ = tensors.input(0)->params.zero_point;
    hidden_zero_point_ = tensors.input(kHidden)->params.zero_point;
    const size_t bytes = sizeof(int16_t) * kGates * static_cast<size_t>(units_);
    return context->RequestScratchBufferInArena(context, bytes, &scratch_);
  }

  TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) const {
    const int8_t* const input = Input(context, node, 0);
    int8_t* const output = Output(context, node);
    auto* hidden = tflite::micro::GetTensorData<int8_t>(tflite::micro::GetMutableEvalInput(context, node, kHidden));
    auto* cell = tflite::micro::GetTensorData<int16_t>(tflite::micro::GetMutableEvalInput(context, node, kCell));
    for (int32_t row = 0; row < rows_; ++row, hidden += units_, cell += units_) {
      for (int32_t step = 0; step < steps_; ++step) {
        const int32_t at = is_time_major_ ? step * rows_ + row : row * steps_ + step;
        Step(context, node, input + at * inputs_, hidden, cell);
        for (int32_t i = 0; i < units_; ++i) output[at * units_ + i] = hidden[i];
      }
    }
    return kTfLiteOk;
  }

 private:
  // Whether activations and states have the types, and peepholes, projection and normalisation are left out.
  static bool HasStates(const TfLiteNode* node, const Tensors& tensors) {
    if (node->inputs->size <= kCell || node->inputs->size > Tensors::kInputs) return false;
    for (int i = 0; i < node->inputs->size; ++i) {
      const bool is_needed = i < kHiddenWeights + kGates || (i >= kBiases && i < kBiases + kGates) || i == kHidden ||
                             i == kCell;
      if ((tensors.input(i) != nullptr) != is_needed) return false;
    }
    const TfLiteTensor &x = *tensors.input(0), &hidden = *tensors.input(kHidden), &cell = *tensors.input(kCell);
    return IsInt8Activation(&x) && IsInt8Activation(&hidden) && IsActivation(&cell, kTfLiteInt16) &&
           IsInt8Activation(tensors.output()) && hidden.is_variable && cell.is_variable &&
           cell.params.zero_point == 0 && x.dims->size == 3;
  }

  bool ReadSizes(bool is_time_major, const Tensors& tensors) {
    constexpr int32_t kMost = 1 << 15;  // of weights whose sum of products fits 32 bits
    const TfLiteIntArray& x = *tensors.input(0)->dims;
    const int64_t states = tflite::NumElements(tensors.input(kHidden));
    is_time_major_ = is_time_major;
    rows_ = x.data[is_time_major ? 1 : 0];
    steps_ = x.data[is_time_major ? 0 : 1];
    inputs_ = x.data[2];
    if (rows_ < 1 || steps_ < 1 || inputs_ < 1 || inputs_ > kMost || states % rows_ != 0) return false;
    units_ = static_cast<int32_t>(states / rows_);
    if (units_ < 1 || units_ > kMost || tflite::NumElements(tensors.input(kCell)) != states ||
        tflite::NumElements(tensors.output()) != states * steps_) {
      return false;
    }
    for (int gate = 0; gate < kGates; ++gate) {
      if (!IsMatrix(tensors, kInputWeights + gate) || !IsMatrix(tensors, kHiddenWeights + gate)) return false;
      const TfLiteIntArray& w = *tensors.input(kInputWeights + gate)->dims;
      const TfLiteIntArray& r = *tensors.input(kHiddenWeights + gate)->dims;
      if (w.data[0] != units_ || w.data[1] != inputs_ || r.data[0] != units_ || r.data[1] != units_ ||
          !IsConstantVector(tensors, kBiases + gate, units_)) {
        return false;
      }
    }
    return true;
  }

  // Returns false if one of them is not narrow.
  bool ReadFactors(const Tensors& tensors) {
    constexpr double kGateScale = 1.0 / (1 << 12), kProductScale = 1.0 / (1 << 15);  // of a gate's input, of its output
    const auto scale = [&](int i) { return static_cast<double>(tensors.input(i)->params.scale); };
    const auto recover = [](double real, Factor* factor) { return Recover(real, factor) && factor->CanApply(); };
    for (int gate = 0; gate < kGates; ++gate) {
      if (!recover(scale(0) * scale(kInputWeights + gate) / kGateScale, &of_input_[gate]) ||
          !recover(scale(kHidden) * scale(kHiddenWeights + gate) / kGateScale, &of_hidden_[gate])) {
        return false;
      }
    }
    return recover(kProductScale, &forgotten_) && recover(kProductScale * kProductScale / scale(kCell), &added_) &&
           recover(kProductScale * kProductScale / scale(kHidden), &exposed_);
  }

  // Returns false unless the cell's scale is a power of two that the function has room for.
  bool ReadCell(float clip, float scale) {
    int exponent;
    if (std::frexp(scale, &exponent) != 0.5f) return false;
    // The function takes x * 3 * 2^shift where its multiplier is 0, and x * multiplier / 2^shift elsewhere.
    const int32_t shift = 12 + exponent - 1;
    tanh_multiplier_ = shift < 0 ? 3 : 0;
    tanh_shift_ = shift < 0 ? -shift : shift;
    const double steps = static_cast<double>(clip) / static_cast<double>(scale);
    most_in_cell_ = clip > 0 ? static_cast<int32_t>(steps < 32767.0 ? steps : 32767.0) : 32768;
    return shift >= -31 && shift <= 14;
  }

  // One row's next hidden and cell states.
  void Step(TfLiteContext* context, TfLiteNode* node, const int8_t* x, int8_t* hidden, int16_t* cell) const {
    auto* const scratch = static_cast<int16_t*>(context->GetScratchBuffer(context, scratch_));
    int16_t* gates[kGates];
    for (int gate = 0; gate < kGates; ++gate) {
      gates[gate] = scratch + gate * units_;
      AddUp(context, node, gate, x, hidden, gates[gate]);
      if (gate == kCellGate) {
        Tanh(0, 0, gates[gate], gates[gate]);
      } else {
        tflite::reference_integer_ops::Logistic(0, 0, units_, gates[gate], gates[gate]);
      }
    }
    Multiply(forgotten_, units_, gates[kForgetGate], cell);
    Multiply(added_, units_, gates[kInputGate], gates[kCellGate]);
    for (int32_t i = 0; i < units_; ++i) {
      const int32_t sum = SaturateTo16(cell[i] + gates[kCellGate][i]);
      cell[i] = static_cast<int16_t>(sum < -most_in_cell_ ? -most_in_cell_ : sum > most_in_cell_ ? most_in_cell_ : sum);
    }
    Tanh(tanh_multiplier_, tanh_shift_, cell, gates[kCellGate]);
    for (int32_t i = 0; i < units_; ++i) {
      const int64_t y = exposed_.Apply(gates[kCellGate][i] * gates[kOutputGate][i]) + hidden_zero_point_;
      hidden[i] = static_cast<int8_t>(y < -128 ? -128 : y > 127 ? 127 : y);
    }
  }

  // What a gate's function is taken of.
  void AddUp(TfLiteContext* context, TfLiteNode* node, int gate, const int8_t* x, const int8_t* hidden,
             int16_t* sums) const {
    const int8_t* weights = Input(context, node, kInputWeights + gate);
    const int8_t* hidden_weights = Input(context, node, kHiddenWeights + gate);
    const auto* const bias =
        tflite::micro::GetTensorData<int32_t>(tflite::micro::GetEvalInput(context, node, kBiases + gate));
    for (int32_t unit = 0; unit < units_; ++unit, weights += inputs_, hidden_weights += units_) {
      int32_t of_input = 0, of_hidden = 0;
      for (int32_t i = 0; i < inputs_; ++i) of_input += (x[i] - input_zero_point_) * weights[i];
      for (int32_t i = 0; i < units_; ++i) of_hidden += (hidden[i] - hidden_zero_point_) * hidden_weights[i];
      sums[unit] = SaturateTo16(SaturateTo16(of_input_[gate].Apply(int64_t{of_input} + bias[unit])) +
                                SaturateTo16(of_hidden_[gate].Apply(of_hidden)));
    }
  }

  void Tanh(int32_t multiplier, int32_t shift, const int16_t* input, int16_t* output) const {
    const tflite::RuntimeShape shape(1, &units_);
    tflite::reference_integer_ops::Tanh(multiplier, shift, shape, input, shape, output);
  }

  Factor of_input_[kGates], of_hidden_[kGates];
  Factor forgotten_, added_, exposed_;  // of the cell by its gate, of the input by its gate, of the activated cell
  int32_t rows_, steps_, inputs_, units_;
  int32_t input_zero_point_, hidden_zero_point_;
  int32_t most_in_cell_;
  int32_t tanh_multiplier_, tanh_shift_;  // for the cell's scale
  int scratch_;
  bool is_time_major_;
};

}  // namespace

TFLMRegistration Register_UNIDIRECTIONAL_SEQUENCE_LSTM() {
  return Registration<Lstm, tflite::Register_UNIDIRECTIONAL_SEQUENCE_LSTM>::Get();
}

}  // namespace narrow
