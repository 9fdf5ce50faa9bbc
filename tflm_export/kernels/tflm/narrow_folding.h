// SPDX-License-Identifier: Apache-2.0
// A layer's rescale, folded into the constants of the narrow kernels, with the proof that its integers fit: what
// tflm_export/c/epilogue.py does at export. Knows nothing of TFLM.
//
// Other than there the weights stay as they are. A channel whose factor is so small that its output never changes gets
// a shift (or a multiplier of 0) that says the same.
#ifndef NARROW_FOLDING_H
#define NARROW_FOLDING_H

#include <cstdint>
#include <limits>

#include "narrow_recovery.h"

extern "C" {
#include "narrow_kernels.h"
}

namespace narrow {

// The kernels' ways to end; see narrow_kernels.h.
enum class End : uint8_t { kShift, kMultiply, kWide };

inline bool FitsInt32(int64_t value) {
  return value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max();
}

// What rounds a sum and moves it to the output's zero point, before its shift; shift: 0..48.
inline int64_t RoundingConstant(int32_t shift, int32_t zero_point) {
  return ((int64_t{1} << shift) >> 1) + zero_point * (int64_t{1} << shift);
}

// What a channel has in the arrays of a narrow_rescale.
struct Constants {
  int32_t start, multiplier, fold;
  int8_t shift;
};

// A channel and its accumulators over all int8 inputs.
class Channel {
 public:
  // factor: of the accumulators.
  // bias: what they are where every input is its zero point.
  // start: where they begin; of raw inputs that is not the bias.
  // reach: how far from there they can get; 0: every input gives the bias.
  // low, high: what they can end as.
  // zero_point: of the output.
  Channel(Factor factor, int64_t bias, int64_t start, int64_t reach, int64_t low, int64_t high, int32_t zero_point)
      : start_(start), reach_(reach), low_(low), high_(high), zero_point_(zero_point) {
    if (factor.shift < 0) {  // 256 times an integer other than 0 saturates at any zero point
      factor.multiplier = factor.shift < -8 ? 256 * (factor.multiplier > 0) : factor.multiplier << -factor.shift;
      if (factor.multiplier > 256) factor.multiplier = 256;
      factor.shift = 0;
    }
    multiplier_ = factor.multiplier;
    shift_ = factor.shift;
    const int64_t farthest = (-low > high ? -low : high) * multiplier_;  // below 2^47
    const bool tiny = farthest == 0 || shift_ > 48 || farthest < RoundingConstant(shift_, 0);
    if (reach == 0) {
      SetConstant(tiny ? 0 : (bias * multiplier_ + RoundingConstant(shift_, 0)) >> shift_);
    } else if (tiny) {
      SetTiny();
    }
  }

  bool CanShift() const {
    if (kind_ == kConstant) return true;
    if (kind_ == kUsual && multiplier_ != 1) return false;
    const int64_t start = start_ + RoundingConstant(shift_, zero_point_);
    return FitsInt32(start - reach_) && FitsInt32(start + reach_);
  }

  bool CanMultiply() const {
    if (kind_ != kUsual) return true;
    const int64_t low = low_ * multiplier_, high = high_ * multiplier_;
    const int64_t constant = RoundingConstant(shift_, zero_point_);
    return FitsInt32(low) && FitsInt32(high) && FitsInt32(constant) && FitsInt32(low + constant) &&
           FitsInt32(high + constant);
  }

  // Those that an end reads; the others are 0.
  Constants ConstantsOf(End end) const {
    const bool usual = kind_ == kUsual, constant = kind_ == kConstant;
    const bool shifted = usual || (end == End::kShift && kind_ == kTiny);
    const int32_t shift = shifted ? shift_ : 0;
    int64_t start = start_, fold = 0;
    if (end == End::kShift && shifted) start += RoundingConstant(shift, zero_point_);
    if (end == End::kWide && constant) start -= zero_point_;
    if (end == End::kMultiply && !constant) fold = RoundingConstant(shift, zero_point_);
    return {static_cast<int32_t>(start), usual ? multiplier_ : int32_t{constant}, static_cast<int32_t>(fold),
            static_cast<int8_t>(shift)};
  }

 private:
  enum Kind : uint8_t {
    kUsual,
    kConstant,  // no input changes it; start_ is its output
    kTiny,      // its factor takes every accumulator to 0
  };

  void SetConstant(int64_t rounded) {
    const int64_t output = rounded + zero_point_;
    kind_ = kConstant;
    start_ = output < -128 ? -128 : output > 127 ? 127 : output;
  }

  // The least shift that takes every sum, without a bias, to 0.
  void SetTiny() {
    kind_ = kTiny;
    start_ = 0;
    shift_ = 1;
    while (RoundingConstant(shift_, 0) <= reach_) ++shift_;
  }

  Kind kind_ = kUsual;
  int32_t multiplier_, shift_;  // shift_: 0..48
  int64_t start_, reach_, low_, high_;
  int32_t zero_point_;
};

// A layer with int8 weights whose zero point is 0.
struct Layer {
  double input_scale, output_scale;
  const float* weight_scales;  // [scales]
  int32_t scales;              // 1 or channels
  int32_t input_zero_point, output_zero_point;
  const int8_t* weights;
  int32_t channels, elements;          // elements: weights of a channel
  int32_t channel_step, element_step;  // from a channel's first weight to the next one's; from weight to weight
  const int32_t* bias;                 // [channels], or nullptr
  bool is_centred;                     // whether the kernel takes their zero point from inputs before it multiplies

  // Finds the end that can compute the layer. Returns false if it is not narrow or its accumulators leave 32 bits.
  bool ChooseEnd(End* end) const {
    if (elements >= 1 << 24) return false;  // their sum could leave 32 bits
    bool shift = true, multiply = true;
    for (int32_t c = 0; c < channels; ++c) {
      Factor factor;
      if (!RecoverFactor(c, &factor)) return false;
      const Sums sums = SumsOf(c);
      if (!FitsInt32(sums.start - sums.reach) || !FitsInt32(sums.start + sums.reach)) return false;
      const Channel channel = Fold(factor, sums);
      shift = shift && channel.CanShift();
      multiply = multiply && channel.CanMultiply();
    }
    *end = shift ? End::kShift : multiply ? End::kMultiply : End::kWide;
    return true;
  }

  // Writes the arrays [channels] of a narrow_rescale; multiplier and fold only for the ends that read them.
  void Write(End end, int32_t* start, int32_t* multiplier, int32_t* fold, int8_t* shift) const {
    for (int32_t c = 0; c < channels; ++c) {
      Factor factor = {0, 0};
      RecoverFactor(c, &factor);
      const Constants constants = Fold(factor, SumsOf(c)).ConstantsOf(end);
      start[c] = constants.start;
      shift[c] = constants.shift;
      if (end != End::kShift) multiplier[c] = constants.multiplier;
      if (end == End::kMultiply) fold[c] = constants.fold;
    }
  }

 private:
  // A channel's accumulators, as in Channel.
  struct Sums {
    int64_t bias, start, reach, low, high;
  };

  bool RecoverFactor(int32_t c, Factor* factor) const {
    return Recover(input_scale * static_cast<double>(weight_scales[scales == 1 ? 0 : c]) / output_scale, factor);
  }

  Sums SumsOf(int32_t c) const {
    int32_t sum = 0, magnitude = 0;
    const int8_t* weight = weights + c * channel_step;
    for (int32_t i = 0; i < elements; ++i, weight += element_step) {
      sum += *weight;
      magnitude += *weight < 0 ? -*weight : *weight;
    }
    const int64_t positive = (int64_t{magnitude} + sum) / 2, negative = positive - magnitude;
    const int32_t least = -128 - input_zero_point, most = 127 - input_zero_point;
    const int64_t b = bias == nullptr ? 0 : bias[c];
    const int64_t up = positive * most + negative * least, down = positive * least + negative * most;
    if (is_centred) return {b, b, up > -down ? up : -down, b + down, b + up};
    return {b, b - int64_t{input_zero_point} * sum, int64_t{128} * magnitude, b + down, b + up};
  }

  Channel Fold(const Factor& factor, const Sums& sums) const {
    return Channel(factor, sums.bias, sums.start, sums.reach, sums.low, sums.high, output_zero_point);
  }
};

}  // namespace narrow

#endif  // NARROW_FOLDING_H
