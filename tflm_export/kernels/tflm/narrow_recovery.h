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
};

// x / 2^shift, rounded, halves up; shift: 1..62.
inline int64_t RoundingShift(int64_t x, int shift) { return (x + (int64_t{1} << (shift - 1))) >> shift; }

// Finds the narrowest grid, of 1 to 16 bits, that a factor lies on but for the rounding of float32 scales, and the
// factor's place there: significant_bits and recover of tflm_export/rescale.py, bit for bit. Returns false for a factor
// that is on none of them, negative or not finite.
inline bool Recover(double factor, Factor* recovered) {
  if (!(factor >= 0 && factor <= DBL_MAX)) return false;
  *recovered = {0, 0};
  if (factor == 0) return true;
  constexpr int kMantissaBits = 53;
  int exponent;
  const int64_t mantissa = static_cast<int64_t>(std::ldexp(std::frexp(factor, &exponent), kMantissaBits));
  int bits = 0;
  int64_t distance;
  do {
    if (++bits > kReadableBits) return false;
    const int drop = kMantissaBits - bits;
    distance = mantissa - (RoundingShift(mantissa, drop) << drop);
    if (distance < 0) distance = -distance;
  } while (distance > mantissa >> kToleranceBits);
  // By way of TFLite's own 31 bits, whose flush to zero counts.
  int64_t stock = RoundingShift(mantissa, kMantissaBits - 31);
  if (stock >> 31) {
    stock >>= 1;
    ++exponent;
  }
  if (exponent < -31) return true;
  int64_t multiplier = RoundingShift(stock, 31 - bits);
  int32_t shift = bits - exponent;
  if (multiplier >> bits) {
    multiplier >>= 1;
    --shift;
  }
  *recovered = {static_cast<int32_t>(multiplier), shift};
  return true;
}

}  // namespace narrow

#endif  // NARROW_RECOVERY_H
