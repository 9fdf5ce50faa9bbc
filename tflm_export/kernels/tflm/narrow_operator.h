// SPDX-License-Identifier: Apache-2.0
// What the registrations share: operators that are narrow or stock, one by one, and the reading of tensors.
#ifndef NARROW_OPERATOR_H
#define NARROW_OPERATOR_H

#include <cstdint>
#include <new>

#include "narrow_folding.h"
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/kernels/kernel_util.h"
#include "tensorflow/lite/micro/kernels/kernel_util.h"
#include "tensorflow/lite/micro/micro_common.h"
#include "tensorflow/lite/micro/micro_context.h"

namespace narrow {

// A registration of an operator type.
//
// Narrow: has `TfLiteStatus Prepare(TfLiteContext*, TfLiteNode*, bool* is_narrow)` and
//   `TfLiteStatus Invoke(TfLiteContext*, TfLiteNode*) const`, called only if is_narrow was set.
// Stock: gives the registration for all operators that are not narrow. Its init runs in Prepare, so that narrow
//   operators take no memory for it, and its functions find their own user_data in the node.
template <class Narrow, TFLMRegistration (*Stock)()>
class Registration {
 public:
  static TFLMRegistration Get() { return tflite::micro::RegisterOp(Init, Prepare, Invoke, Free, Reset); }

 private:
  struct Data {
    Narrow narrow;
    bool is_narrow;
    void* stock;  // the stock registration's user_data
  };

  // Puts the stock registration's user_data into a node for as long as it lives.
  class StockData {
   public:
    explicit StockData(TfLiteNode* node) : node_(node), own_(node->user_data) {
      node->user_data = static_cast<Data*>(own_)->stock;
    }
    ~StockData() { node_->user_data = own_; }

   private:
    TfLiteNode* const node_;
    void* const own_;
  };

  static void* Init(TfLiteContext* context, const char*, size_t) {
    void* const memory = context->AllocatePersistentBuffer(context, sizeof(Data));
    return memory == nullptr ? nullptr : new (memory) Data{};
  }

  static TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
    TF_LITE_ENSURE(context, node->user_data != nullptr);
    Data* const data = static_cast<Data*>(node->user_data);
    TF_LITE_ENSURE_OK(context, data->narrow.Prepare(context, node, &data->is_narrow));
    if (data->is_narrow) return kTfLiteOk;
    const TFLMRegistration stock = Stock();
    if (stock.init != nullptr) {
      data->stock = stock.init(context, static_cast<const char*>(node->builtin_data), 0);
    }
    const StockData scope(node);
    return stock.prepare == nullptr ? kTfLiteOk : stock.prepare(context, node);
  }

  static TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
    const Data* const data = static_cast<const Data*>(node->user_data);
    if (data->is_narrow) return data->narrow.Invoke(context, node);
    const StockData scope(node);
    return Stock().invoke(context, node);
  }

  static void Free(TfLiteContext* context, void* buffer) {
    const Data* const data = static_cast<const Data*>(buffer);
    const TFLMRegistration stock = Stock();
    if (data != nullptr && !data->is_narrow && stock.free != nullptr) stock.free(context, data->stock);
  }

  static void Reset(TfLiteContext* context, void* buffer) {
    const Data* const data = static_cast<const Data*>(buffer);
    const TFLMRegistration stock = Stock();
    if (data != nullptr && !data->is_narrow && stock.reset != nullptr) stock.reset(context, data->stock);
  }
};

// The tensors of a node in Prepare; nullptr where one is left out.
class Tensors {
 public:
  Tensors(TfLiteContext* context, const TfLiteNode* node) : context_(tflite::GetMicroContext(context)), node_(node) {
    for (int i = 0; i < kInputs; ++i) {
      if (i < node->inputs->size) inputs_[i] = context_->AllocateTempInputTensor(node, i);
    }
    output_ = context_->AllocateTempOutputTensor(node, 0);
  }
  ~Tensors() {
    if (output_ != nullptr) context_->DeallocateTempTfLiteTensor(output_);
    for (int i = kInputs - 1; i >= 0; --i) {
      if (inputs_[i] != nullptr) context_->DeallocateTempTfLiteTensor(inputs_[i]);
    }
  }
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  static constexpr int kInputs = 24;  // of the operator with the most, an LSTM

  const TfLiteTensor* input(int i) const { return inputs_[i]; }
  TfLiteTensor* output() const { return output_; }

  // Whether an input has a value that is known in Prepare.
  bool IsConstant(int i) const {
#ifdef USE_TFLM_COMPRESSION
    if (context_->IsTensorCompressed(node_, i)) return false;
#endif
    return tflite::IsConstantTensor(inputs_[i]) && inputs_[i]->data.data != nullptr;
  }

 private:
  tflite::MicroContext* const context_;
  [[maybe_unused]] const TfLiteNode* const node_;
  TfLiteTensor* inputs_[kInputs] = {};
  TfLiteTensor* output_;
};

// Whether a tensor has a type, one scale and one zero point, which the type holds.
bool IsActivation(const TfLiteTensor* tensor, TfLiteType type);
inline bool IsInt8Activation(const TfLiteTensor* tensor) { return IsActivation(tensor, kTfLiteInt8); }

// Whether a tensor is constant and int8, with one scale and zero point 0, of two dimensions.
bool IsMatrix(const Tensors& tensors, int i);

// How two inputs meet in an operator on pairs of elements: one has the output's shape, the other one is repeated along
// the first axes of it.
struct Pairing {
  int whole;  // the input that has the output's shape
  int32_t repeats, count;

  // Returns false if the shapes are others, or empty.
  bool Read(const Tensors& tensors);
};

// Which inputs of an operator are its activations, its weights and its bias, which may be left out.
struct Operands {
  int input = 0, weights = 1, bias = 2;
};

// Reads operands and output of an operator whose weights have their output channels along `channel_axis`. Returns false
// if they are not int8 and constant, as the kernels need them.
bool ReadLayer(const Tensors& tensors, int channel_axis, Layer* layer, const Operands& operands = {});

// The rescale of a layer and what comes after it.
struct Rescaled {
  narrow_rescale rescale;
  End end;
  int8_t low, high;  // fused activation

  // Folds a layer into persistent buffers; `is_narrow` tells whether it could be.
  TfLiteStatus Prepare(TfLiteContext* context, const Layer& layer, TfLiteFusedActivation activation,
                       TfLiteTensor* output, bool* is_narrow);
};

// The fused activation of an int8 output.
TfLiteStatus ReadActivation(TfLiteContext* context, TfLiteFusedActivation activation, TfLiteTensor* output,
                            int8_t* low, int8_t* high);

// The elements of an int8 input, and of the output, in Invoke.
inline const int8_t* Input(const TfLiteContext* context, const TfLiteNode* node, int i) {
  return tflite::micro::GetTensorData<int8_t>(tflite::micro::GetEvalInput(context, node, i));
}
inline int8_t* Output(const TfLiteContext* context, const TfLiteNode* node) {
  return tflite::micro::GetTensorData<int8_t>(tflite::micro::GetEvalOutput(context, node, 0));
}

// Applies a fused activation, unless it is what int8 does anyway.
void Activate(int8_t low, int8_t high, int32_t count, int8_t* output);

}  // namespace narrow

#endif  // NARROW_OPERATOR_H
