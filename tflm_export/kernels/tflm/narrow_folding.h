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

// A channel and its accumulators over all int8 inputs.
struct Channel {
  enum Kind : uint8_t {
    kUsual,
    kConstant,  // all its weights are 0; start is its output
    kTiny,      // its factor takes every accumulator to 0
  };
  Kind kind;
  int32_t multiplier;  // kUsual
  int32_t shift;       // kUsual: 0..48. kTiny: the least that takes every sum over raw inputs, without bias, to 0
  int64_t start;       // where an accumulator over raw inputs begins
  int64_t reach;       // how far from there it can get
  int64_t low, high;   // what it can end as
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

  // Finds the end that can compute the layer. Returns false if it is not narrow or its accumulators leave 32 bits.
  bool ChooseEnd(End* end) const {
    bool shift = true, multiply = true;
    for (int32_t c = 0; c < channels; ++c) {
      Channel channel;
      if (!Fold(c, &channel)) return false;
      shift = shift && CanShift(channel);
      multiply = multiply && CanMultiply(channel);
    }
    *end = shift ? End::kShift : multiply ? End::kMultiply : End::kWide;
    return true;
  }

  // Writes the arrays [channels] of a narrow_rescale; multiplier and fold only for the ends that read them.
  void Write(End end, int32_t* start, int32_t* multiplier, int32_t* fold, int8_t* shift) const {
    for (int32_t c = 0; c < channels; ++c) {
      Channel channel;
      Fold(c, &channel);
      const bool usual = channel.kind == Channel::kUsual;
      const bool shifted = usual || (end == End::kShift && channel.kind == Channel::kTiny);
      shift[c] = shifted ? static_cast<int8_t>(channel.shift) : 0;
      int64_t first = channel.start;
      if (end == End::kShift && shifted) first += RoundingConstant(channel.shift, output_zero_point);
      if (end == End::kWide && channel.kind == Channel::kConstant) first -= output_zero_point;
      start[c] = static_cast<int32_t>(first);
      if (end == End::kShift) continue;
      multiplier[c] = usual ? channel.multiplier : channel.kind == Channel::kConstant;
      if (end == End::kWide) continue;
      const int64_t constant = channel.kind == Channel::kConstant ? 0 : RoundingConstant(shift[c], output_zero_point);
      fold[c] = static_cast<int32_t>(constant);
    }
  }

 private:
  bool Fold(int32_t c, Channel* channel) const {
    Factor factor;
    const double weight_scale = weight_scales[scales == 1 ? 0 : c];
    if (!Recover(input_scale * weight_scale / output_scale, &factor)) return false;
    if (elements >= 1 << 24) return false;  // their sum could leave 32 bits
    int32_t sum = 0, magnitude = 0;
    const int8_t* weight = weights + c * channel_step;
    for (int32_t i = 0; i < elements; ++i, weight += element_step) {
      sum += *weight;
      magnitude += *weight < 0 ? -*weight : *weight;
    }
    const int64_t positive = (int64_t{magnitude} + sum) / 2, negative = positive - magnitude;
    const int32_t least = -128 - input_zero_point, most = 127 - input_zero_point;
    const int64_t b = bias == nullptr ? 0 : bias[c];
    const int64_t low = positive * least + negative * most + b, high = positive * most + negative * least + b;
    const int64_t start = b - int64_t{input_zero_point} * sum, reach = int64_t{128} * magnitude;
    if (!FitsInt32(start - reach) || !FitsInt32(start + reach)) return false;
    if (factor.shift < 0) {  // 256 times an integer other than 0 saturates at any zero point
      factor.multiplier = factor.shift < -8 ? 256 * (factor.multiplier > 0) : factor.multiplier << -factor.shift;
      if (factor.multiplier > 256) factor.multiplier = 256;
      factor.shift = 0;
    }
    *channel = {Channel::kUsual, factor.multiplier, factor.shift, start, reach, low, high};
    const int64_t farthest = (-low > high ? -low : high) * factor.multiplier;  // below 2^47
    const bool tiny = farthest == 0 || factor.shift > 48 || farthest < RoundingConstant(factor.shift, 0);
    if (reach == 0) {
      const int64_t rounded = tiny ? 0 : (b * factor.multiplier + RoundingConstant(factor.shift, 0)) >> factor.shift;
      const int64_t output = rounded + output_zero_point;
      *channel = {Channel::kConstant, 1, 0, output < -128 ? -128 : output > 127 ? 127 : output, 0, 0, 0};
    } else if (tiny) {
      *channel = {Channel::kTiny, 0, 1, 0, reach, 0, 0};
      while (RoundingConstant(channel->shift, 0) <= reach) ++channel->shift;
    }
    return true;
  }

  bool CanShift(const Channel& channel) const {
    if (channel.kind == Channel::kConstant) return true;
    if (channel.kind == Channel::kUsual && channel.multiplier != 1) return false;
    const int64_t start = channel.start + RoundingConstant(channel.shift, output_zero_point);
    return FitsInt32(start - channel.reach) && FitsInt32(start + channel.reach);
  }

  bool CanMultiply(const Channel& channel) const {
    if (channel.kind != Channel::kUsual) return true;
    const int64_t low = channel.low * channel.multiplier, high = channel.high * channel.multiplier;
    const int64_t constant = RoundingConstant(channel.shift, output_zero_point);
    return FitsInt32(low) && FitsInt32(high) && FitsInt32(constant) && FitsInt32(low + constant) &&
           FitsInt32(high + constant);
  }
};

// The constants of narrow_add and narrow_add_wide.
struct Addition {
  int64_t factor_a, factor_b, start;
  int32_t shift;
  bool is_wide;

  // From the real factors and zero points. Returns false if a factor is not narrow or 64 bits do not suffice.
  bool Fold(double real_a, double real_b, int32_t zero_a, int32_t zero_b, int32_t zero_output) {
    constexpr int32_t kWidest = 40;  // 2^40 * 2^16 * 2^7 stays below 2^63
    Factor a, b;
    if (!Recover(real_a, &a) || !Recover(real_b, &b)) return false;
    shift = a.shift > b.shift ? a.shift : b.shift;
    if (shift < 0) shift = 0;
    if (shift > kWidest + 8 || shift - a.shift > kWidest || shift - b.shift > kWidest) return false;
    factor_a = static_cast<int64_t>(a.multiplier) << (shift - a.shift);
    factor_b = static_cast<int64_t>(b.multiplier) << (shift - b.shift);
    start = RoundingConstant(shift, zero_output) - zero_a * factor_a - zero_b * factor_b;
    const int64_t reach = 128 * (factor_a + factor_b) + (start < 0 ? -start : start);
    is_wide = !FitsInt32(reach);
    return true;
  }
};

}  // namespace narrow

#endif  // NARROW_FOLDING_H
