// SPDX-License-Identifier: Apache-2.0
// The rescales of operators without weights, folded into the constants of the narrow kernels, with the proof that their
// integers fit. Knows nothing of TFLM.
#ifndef NARROW_TERMS_H
#define NARROW_TERMS_H

#include <cstdint>
#include <numeric>

#include "narrow_folding.h"

namespace narrow {

// The constants of narrow_add and narrow_add_wide; with one term, of narrow_quantize.
struct Addition {
  int64_t factor_a, factor_b, start;
  int32_t shift;
  bool is_wide;

  // A term: its scale over the output's, 1 or -1, and its zero point.
  struct Term {
    double factor;
    int32_t sign;
    int32_t zero_point;
  };

  // Returns false if a factor is not narrow or 64 bits do not suffice.
  bool Fold(const Term& term_a, const Term& term_b, int32_t zero_output) {
    constexpr int32_t kWidest = 40;  // 2^40 * 2^16 * 2^7 stays below 2^63
    Factor a, b;
    if (!Recover(term_a.factor, &a) || !Recover(term_b.factor, &b)) return false;
    shift = a.shift > b.shift ? a.shift : b.shift;
    if (shift < 0) shift = 0;
    if (shift > kWidest + 8 || shift - a.shift > kWidest || shift - b.shift > kWidest) return false;
    const int64_t aligned_a = static_cast<int64_t>(a.multiplier) << (shift - a.shift);
    const int64_t aligned_b = static_cast<int64_t>(b.multiplier) << (shift - b.shift);
    factor_a = term_a.sign * aligned_a;
    factor_b = term_b.sign * aligned_b;
    start = RoundingConstant(shift, zero_output) - term_a.zero_point * factor_a - term_b.zero_point * factor_b;
    const int64_t reach = 128 * (aligned_a + aligned_b) + (start < 0 ? -start : start);
    is_wide = !FitsInt32(reach);
    return true;
  }
};

// The constants of narrow_mul, and which of its ends computes it.
struct Multiplication {
  Constants constants;
  End end;

  // From the real factor and the zero points. Returns false if the factor is not narrow.
  bool Fold(double real, int32_t zero_a, int32_t zero_b, int32_t zero_output) {
    Factor factor;
    if (!Recover(real, &factor)) return false;
    const int64_t reach = int64_t{Farthest(zero_a)} * Farthest(zero_b);
    const Channel channel(factor, 0, 0, reach, -reach, reach, zero_output);
    end = channel.CanShift() ? End::kShift : channel.CanMultiply() ? End::kMultiply : End::kWide;
    constants = channel.ConstantsOf(end);
    return true;
  }

 private:
  // How far an int8 can be from its zero point.
  static int32_t Farthest(int32_t zero_point) { return zero_point < 0 ? 127 - zero_point : 128 + zero_point; }
};

// The constants of narrow_mean and narrow_mean_wide.
struct Average {
  int64_t factor, start, divisor;
  bool is_wide;

  // From the real factor, without the count, and the zero points; count: 1..2^23. Returns false if the factor is not
  // narrow or 64 bits do not suffice.
  bool Fold(double real, int32_t count, int32_t zero_input, int32_t zero_output) {
    Factor narrow;
    if (!Recover(real, &narrow) || narrow.shift < -8) return false;
    const int32_t shift = narrow.shift < 0 ? 0 : narrow.shift;
    if (shift > 48 || (int64_t{count} << shift) >= int64_t{1} << 52) return false;
    factor = int64_t{2} * narrow.multiplier << (shift - narrow.shift);
    divisor = int64_t{count} << shift;  // half of it, to be divided by what it shares with the factor
    const int64_t common = std::gcd(factor, divisor);
    factor /= common;
    divisor = divisor / common * 2;
    start = divisor * (zero_output + 128) + divisor / 2 - zero_input * count * factor;
    const int64_t reach = 128 * count * factor + (start < 0 ? -start : start);
    is_wide = !FitsInt32(reach) || !FitsInt32(divisor);
    return true;
  }
};

}  // namespace narrow

#endif  // NARROW_TERMS_H
