# SPDX-License-Identifier: Apache-2.0
"""Rescale arithmetic: a positive real factor as `multiplier * 2**-shift` with a k-bit multiplier.

Every quantised operator ends in `y = zero_point + round(acc * M)` with a real factor M. TFLite and TFLM store M as a
31-bit mantissa and a shift (`QuantizeMultiplier`, tensorflow/lite/kernels/internal/quantization_util.cc). This module
is the one place that splits, recovers and applies such factors, at any width k from 1 to 31 bits.

A .tflite file holds float32 scales and no multipliers, so a narrow factor read back from a file is off by the rounding
of those scales. `FLOAT32_TOLERANCE` is what a handful of float32 roundings can do (the stock converter's, for models
that were trained onto the grid: 4 * 2**-24 seen); factors nearer than that to the k-bit grid are on it. As a
consequence the scales of a file cannot tell grids of 21 bits and more from TFLite's own.
"""

import dataclasses
from typing import Protocol

import numpy as np

from tflm_export.errors import ModelError, UsageError

MAX_BITS = 31
WIDE_BITS = 15  # of multipliers for accumulators of 47 bits and a sign
FLOAT32_TOLERANCE = 2.0**-21
_FLUSHED_BELOW = 2.0**-32 * (1 - 2.0**-32)  # what rounds up to 2**-32 is kept
READABLE_BITS = 16  # a random factor is on the 16-bit grid by chance once in 64 times, on the 8-bit grid in 16,000
ROUNDINGS = ("nearest", "up", "down")


class Rescaler(Protocol):
    """Whatever turns accumulators into integers at another scale, and rounds in its own way."""

    def apply(self, accumulator) -> np.ndarray:
        """Rescales integers that broadcast against the factors; int64."""


@dataclasses.dataclass(frozen=True)
class Rescale:
    """Factors `multiplier * 2**-shift`, elementwise.

    Attributes:
      multiplier: int64 array; 0, or in [2**(k-1), 2**k) for the width k it was made with.
      shift: int64 array of the same shape; right shift in bits, negative for a left shift.
    """

    multiplier: np.ndarray
    shift: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """The factors as float64, exact unless they leave the range of float64."""
        return np.ldexp(self.multiplier.astype(np.float64), -self.shift)

    def apply(self, accumulator) -> np.ndarray:
        """Rescales integer accumulators as the narrow kernels do: one rounding, halves towards +infinity.

        Computes `(acc * m + (1 << (s - 1))) >> s`, and `(acc * m) << -s` where s <= 0.

        Args:
          accumulator: integers that broadcast against the factors, |acc| <= 2**31.

        Returns:
          int64 array. Exact for every shift above -1; left shifts must not overflow 64 bits.
        """
        product = np.asarray(accumulator, np.int64) * self.multiplier
        # |product| < 2**62, so every shift of 63 or more gives 0.
        right = np.clip(self.shift, 0, 63)
        half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
        rounded = np.where(right >= 63, 0, (product + np.where(right >= 63, 0, half)) >> np.minimum(right, 62))
        return rounded << np.clip(-self.shift, 0, 62)


IDENTITY = Rescale(np.int64(1), np.int64(0))


@dataclasses.dataclass(frozen=True)
class WideNarrowRescale(Rescale):
    """`Rescale` of accumulators of 48 bits (int16 activations), with room for multipliers of 15 bits."""

    def apply(self, accumulator):
        if self.multiplier.size and int(self.multiplier.max()) >> WIDE_BITS:
            raise ModelError(
                f"int16 activations are simulated with narrow multipliers of up to {WIDE_BITS} bits; "
                f"give --bits {WIDE_BITS}"
            )
        return super().apply(accumulator)


@dataclasses.dataclass(frozen=True)
class StockRescale(Rescale):
    """31-bit factors that the stock runtimes apply to 32-bit accumulators with two roundings."""

    def apply(self, accumulator):
        return multiply_by_quantized_multiplier_double(accumulator, self)


@dataclasses.dataclass(frozen=True)
class WideStockRescale(Rescale):
    """31-bit factors that the stock runtimes cut to 15 bits for accumulators of 48 bits."""

    def apply(self, accumulator):
        return multiply_by_quantized_multiplier_wide(accumulator, self)


@dataclasses.dataclass(frozen=True)
class RealRescale:
    """Factors that multiply in float64, halves away from zero.

    Attributes:
      factor: float64.
    """

    factor: np.ndarray

    def apply(self, accumulator) -> np.ndarray:
        """Rescales integers that broadcast against the factors; int64."""
        return multiply_by_real(accumulator, self.factor)


@dataclasses.dataclass(frozen=True)
class RoundingShift:
    """A shift to the right, halves away from zero.

    Attributes:
      exponent: bits, 0 to 31.
    """

    exponent: int

    def apply(self, accumulator) -> np.ndarray:
        """Shifts 32-bit integers; int64."""
        return rounding_divide_by_pot(accumulator, self.exponent)


def check_bits(bits) -> int:
    """Returns `bits` if it is a multiplier width from 1 to 31, else raises UsageError."""
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= MAX_BITS:
        raise UsageError(f"bits must be an integer from 1 to {MAX_BITS}, got {bits!r}")
    return int(bits)


def checked(factor) -> np.ndarray:
    """Factors as float64; raises ValueError where one is negative, infinite or NaN."""
    factor = np.asarray(factor, np.float64)
    good = (factor >= 0) & (factor < np.inf)
    if not good.all():
        raise ValueError(f"a rescale factor must be finite and not negative, got {factor[~good].flat[0]!r}")
    return factor


def decompose(factor, bits: int, rounding: str = "nearest") -> Rescale:
    """Splits factors into k-bit multipliers and shifts, exactly.

    Args:
      factor: finite, non-negative floats of any shape; subnormal and huge values included. 0 gives multiplier 0.
      bits: width k of the multiplier, 1 to 31.
      rounding: "nearest" (halves up, as TFLite), "up" or "down", in magnitude.

    Returns:
      The Rescale of the same shape; where rounding carries to 2**k the multiplier is halved and the shift bumped.

    Raises:
      UsageError: bits or rounding out of range.
      ValueError: a factor is negative, infinite or NaN.
    """
    bits = check_bits(bits)
    factor = checked(factor)
    mantissa, exponent = np.frexp(factor)  # factor == mantissa * 2**exponent, mantissa in [0.5, 1) or 0
    scaled = np.ldexp(mantissa, bits)  # exact: 53-bit mantissa, only its exponent changes
    if rounding == "nearest":
        multiplier = np.floor(scaled + 0.5)  # exact: scaled < 2**31 leaves 21 fraction bits and more
    elif rounding == "up":
        multiplier = np.ceil(scaled)
    elif rounding == "down":
        multiplier = np.floor(scaled)
    else:
        raise UsageError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    return _normalised(multiplier.astype(np.int64), bits - exponent.astype(np.int64), bits)


def _normalised(multiplier: np.ndarray, shift: np.ndarray, bits: int) -> Rescale:
    """Halves multipliers that rounding carried to 2**bits, and gives zero factors shift 0."""
    carry = multiplier >> bits  # 1 on a carry, else 0
    multiplier = multiplier >> carry
    return Rescale(multiplier, np.where(multiplier == 0, 0, shift - carry))


def is_narrow(factor, bits: int) -> np.ndarray:
    """Whether factors lie on the k-bit grid, up to `FLOAT32_TOLERANCE`. Bool array of the factor's shape."""
    return is_near(factor, decompose(factor, bits))


def is_near(factor, grid: Rescale) -> np.ndarray:
    """Whether factors equal those of a grid up to `FLOAT32_TOLERANCE`."""
    with np.errstate(under="ignore", over="ignore"):  # a grid point beyond float64 is near to none
        return np.abs(factor - grid.value) <= FLOAT32_TOLERANCE * np.asarray(factor, np.float64)


def snap(factor, bits: int, rounding: str) -> Rescale:
    """`decompose`, but a factor that is on the grid already (`is_narrow`) stays there whatever the rounding."""
    return stay(factor, decompose(factor, bits), decompose(factor, bits, rounding))


def stay(factor, nearest: Rescale, directed: Rescale) -> Rescale:
    """Of a grid's points next to factors: the nearest where a factor is there already, else the directed one."""
    narrow = is_near(factor, nearest)
    return Rescale(
        np.where(narrow, nearest.multiplier, directed.multiplier), np.where(narrow, nearest.shift, directed.shift)
    )


def significant_bits(factor) -> np.ndarray:
    """The narrowest width k whose grid holds each factor; 0 for a zero factor, 31 where no width up to 16 does.

    Returns:
      int64 array of the factor's shape. Values of 17 to 30 do not occur: float32 scales hardly tell them from 31.
    """
    factor = checked(factor)
    mantissa, _ = np.frexp(factor)
    widths = np.arange(1, READABLE_BITS + 1).reshape(-1, *(1,) * factor.ndim)
    scaled = mantissa * 2.0**widths
    narrow = np.abs(scaled - np.floor(scaled + 0.5)) <= FLOAT32_TOLERANCE * scaled
    width = np.where(narrow.any(0), narrow.argmax(0) + 1, MAX_BITS)
    return np.where(factor == 0, 0, width)


def quantize_multiplier(factor) -> Rescale:
    """TFLite's own form of a factor: 31 bits, nearest, and 0 for factors under 2**-32 as the runtimes flush them.

    Source: QuantizeMultiplier in tensorflow/lite/kernels/internal/quantization_util.cc.
    """
    return decompose(flush(factor), MAX_BITS)


def flush(factor) -> np.ndarray:
    """Factors with 0 in place of those that round to less than 2**-32 at 31 bits; float64."""
    factor = checked(factor)
    return np.where(factor < _FLUSHED_BELOW, 0.0, factor)


def effective_scale(input_scale, weight_scale, output_scale, float32_product: bool = False) -> np.ndarray:
    """The real factor `input_scale * weight_scale / output_scale` as the runtimes compute it from float32 scales.

    Args:
      input_scale, weight_scale, output_scale: float32 values, scalars or [channels].
      float32_product: multiply the first two in float32, as per-tensor kernels do
        (GetQuantizedConvolutionMultipler); per-channel kernels use float64 throughout.

    Returns:
      float64 array.
    """
    if float32_product:
        with np.errstate(over="ignore"):
            product = np.asarray(input_scale, np.float32) * np.asarray(weight_scale, np.float32)
        product = np.minimum(product.astype(np.float64), np.finfo(np.float32).max)
    else:
        product = np.asarray(input_scale, np.float64) * np.asarray(weight_scale, np.float64)
    return product / np.asarray(output_scale, np.float64)


def recover(factor, bits: int) -> Rescale:
    """The k-bit (multiplier, shift) a kernel recovers in Prepare from the runtime's 31-bit multiplier.

    Rounds TFLite's 31-bit multiplier to k bits, halves up; where the factor was put on the k-bit grid through float32
    scales this gives back exactly the multiplier that was meant, for k up to 20.
    """
    return _cut(factor, np.int64(check_bits(bits)))


def recover_held(factor, bits: int, widest: int = MAX_BITS) -> Rescale:
    """The multipliers that a narrow kernel takes from a file: what its scales hold, each factor at its own width.

    A factor on the grid of 16 bits or fewer gets the multiplier that was meant, whatever k is: rules may give single
    operators more bits than the model. Any other factor belongs to an operator that was not narrowed, and is not
    rounded to k bits, which nobody asked for, but keeps all of its 31.

    Args:
      factor: real factors, as the runtimes compute them.
      bits: width k that the model was narrowed to. Only read above 16, where scales of float32 do not tell a grid's
        width: factors on no narrower grid are then on this one.
      widest: what the arithmetic has room for; wider multipliers are rounded to it.

    Returns:
      The Rescale of the factor's shape.
    """
    held = significant_bits(factor)
    otherwise = MAX_BITS if check_bits(bits) <= READABLE_BITS else bits
    return _cut(factor, np.minimum(np.where(held > READABLE_BITS, otherwise, held), widest))


def _cut(factor, bits: np.ndarray) -> Rescale:
    """The runtime's 31-bit multipliers rounded to `bits`, halves up."""
    stock = quantize_multiplier(factor)
    drop = MAX_BITS - bits
    half = (np.int64(1) << drop) >> 1
    return _normalised((stock.multiplier + half) >> drop, stock.shift - drop, bits)


# What the stock runtimes do with TFLite's own form of a factor (`quantize_multiplier`), in their exact integers.


def multiply_by_quantized_multiplier_double(accumulator, stock: Rescale) -> np.ndarray:
    """Rescales 32-bit accumulators with two roundings: a doubling high multiply, then a rounding right shift.

    A left shift comes first, in 32 bits that wrap. The multiply rounds halves up, the shift halves away from zero.

    Args:
      accumulator: integers within int32 that broadcast against the factors.
      stock: 31-bit factors from `quantize_multiplier`.

    Returns:
      int64 array of values within int32.

    Source: MultiplyByQuantizedMultiplier in tensorflow/lite/kernels/internal/common.cc, built without
    TFLITE_SINGLE_ROUNDING.
    """
    accumulator = np.asarray(accumulator, np.int64)
    left, right = np.clip(MAX_BITS - stock.shift, 0, 31), np.clip(stock.shift - MAX_BITS, 0, 31)
    if left.any():
        accumulator = (accumulator << left).astype(np.int32).astype(np.int64)
    return rounding_divide_by_pot(doubling_high_multiply(accumulator, stock.multiplier), right)


def multiply_by_real(accumulator, factor) -> np.ndarray:
    """Rescales accumulators with one float64 product, rounded halves away from zero.

    Args:
      accumulator: integers that broadcast against the factors.
      factor: float64 factors.

    Returns:
      int64 array.

    Source: the variants of FullyConnected that take scales, in tensorflow/lite/kernels/internal/reference.
    """
    product = np.asarray(accumulator, np.float64) * factor
    magnitude = np.abs(product)
    # Not floor(x + 0.5), which rounds 0.49999999999999994 up.
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole >= 0.5), product).astype(np.int64)


def multiply_by_quantized_multiplier_wide(accumulator, stock: Rescale) -> np.ndarray:
    """Rescales 48-bit accumulators (int16 activations) with the multiplier cut to 15 bits and one rounding, halves up.

    Args:
      accumulator: integers, |acc| < 2**47, that broadcast against the factors.
      stock: 31-bit factors from `quantize_multiplier`.

    Returns:
      int64 array of values within int32, to which the runtimes cut the result without saturation.

    Source: MultiplyByQuantizedMultiplier(int64_t, ...) in tensorflow/lite/kernels/internal/common.cc, the same in
    both builds.
    """
    accumulator = np.asarray(accumulator, np.int64)
    reduced, shift = cut_to_wide(stock)
    return ((accumulator * reduced + (np.int64(1) << (shift - 1))) >> shift).astype(np.int32).astype(np.int64)


def cut_to_wide(stock: Rescale) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers of 31 bits cut to the 15 that wide accumulators leave room for, and their shifts to the right."""
    reduced = np.where(stock.multiplier < 0x7FFF0000, (stock.multiplier + (1 << 15)) >> 16, 0x7FFF)
    return reduced, np.clip(stock.shift - 16, 1, 62)


def doubling_high_multiply(a, b, bits: int = 32) -> np.ndarray:
    """The upper half of `2 * a * b`, rounded, halves up; the smallest integer times itself saturates.

    Args:
      a, b: integers of `bits` bits, as int64.
      bits: 32 or 16.

    Source: SaturatingRoundingDoublingHighMul in gemmlowp's fixedpoint.h. Its division truncates after a nudge that
    depends on the sign; together they are a floor with one nudge.
    """
    product = np.multiply(a, b, dtype=np.int64)
    product += np.int64(1) << (bits - 2)
    product >>= bits - 1
    return np.minimum(product, (1 << (bits - 1)) - 1)


def rounding_divide(total: np.ndarray, divisor) -> np.ndarray:
    """`total / divisor` for a positive divisor, rounded to the nearest integer, halves away from zero."""
    magnitude = (np.abs(total) + divisor // 2) // divisor
    return np.where(total > 0, magnitude, -magnitude)


def rounding_divide_by_pot(x, exponent) -> np.ndarray:
    """`x / 2**exponent` rounded to nearest, halves away from zero.

    Args:
      x: int64 integers of 32 bits.
      exponent: 0 to 31.

    Source: RoundingDivideByPOT in gemmlowp's fixedpoint.h.
    """
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    if not exponent.any():
        return x
    half = np.where(exponent > 0, np.int64(1) << np.maximum(exponent - 1, 0), 0)
    result = x + half
    result -= (x < 0) & (exponent > 0)
    result >>= exponent
    return result
