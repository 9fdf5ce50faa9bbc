// SPDX-License-Identifier: Apache-2.0
// Narrow multipliers from the float scales of a .tflite file. Knows nothing of TFLM.
#ifndef NARROW_RECOVERY_H
#define NARROW_RECOVERY_H

#include <cfloat>
#include <cmath>
#include <cstdint>

namespace narrow {

// READABLE_BITS and FLOAT32_TOLERANCE (2^-21) of tflm_export/rescale.py, where they are explained.
constexpr int kReadableBits = 16;
constexpr int kToleranceBits = 21;

// The factor multiplier * 2^-shift; multiplier: 0..2^16 - 1.
struct Factor {
  int32_t multiplier;
  int32_t shift;

  // Whether Apply may be called.
  bool CanApply() const { return shift >= -14; }

  // acc times the factor, rounded once, halves up. acc: -2^32..2^32.
  int64_t Apply(int64_t acc) const {
    const int64_t product = acc * multiplier;  // below 2^48
    if (shift <= 0) return product * (int64_t{1} << -shift);
    return shift > 62 ? 0 : (product + (int64_t{1} << (shift - 1))) >> shift;
  }
};

// x / 2^shift, rounded, halves up; shift: 1..62.
inline int64_t RoundingShift(int64_t x, int shift) { return (x + (int64_t{1} << (shift - 1))) >> shift; }

// Finds the narrowest grid, of 1 to 16 bits, that a factor lies on but for the rounding of float32 scales, and the
// factor's place there: significant_bits and recover of tflm_export/rescale.py, bit for bit. A factor that TFLite takes
// for 0 is 0. Returns false for a factor that is on none of the grids, negative or not finite.
inline bool Recover(double factor, Factor* recovered) {
  if (!(factor >= 0 && factor <= DBL_MAX)) return false;
  constexpr int kMantissaBits = 53, kStockBits = 31;
  int exponent;
  const int64_t mantissa = static_cast<int64_t>(std::ldexp(std::frexp(factor, &exponent), kMantissaBits));
  int64_t stock = RoundingShift(mantissa, kMantissaBits - kStockBits);
  const int carry = static_cast<int>(stock >> kStockBits);
  stock >>= carry;
  exponent += carry;
  *recovered = {0, 0};
  if (stock == 0 || exponent < -31) return true;
  int bits = 0;
  int64_t distance;
  do {
    if (++bits > kReadableBits) return false;
    const int drop = kMantissaBits - bits;
    distance = mantissa - (RoundingShift(mantissa, drop) << drop);
    if (distance < 0) distance = -distance;
  } while (distance > mantissa >> kToleranceBits);
  const int64_t multiplier = RoundingShift(stock, kStockBits - bits);
  const int last_carry = static_cast<int>(multiplier >> bits);
  *recovered = {static_cast<int32_t>(multiplier >> last_carry), bits - exponent - last_carry};
  return true;
}

}  // namespace narrow

#endif  // NARROW_RECOVERY_H
