# SPDX-License-Identifier: Apache-2.0
"""What the kernels should compute, from the definitions: python integers and Fractions, loops over every element."""

import itertools
import math
from fractions import Fraction

import numpy as np


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def saturate(value: int) -> int:
    return max(-128, min(127, value))


def factor(multiplier: int, shift: int) -> Fraction:
    return Fraction(int(multiplier)) / Fraction(2) ** int(shift)


def held(factor: float, bits: int) -> tuple[int, int]:
    """The (multiplier, shift) of a real factor: the narrowest grid of up to 16 bits that holds it, else 31 bits."""
    if factor < 2.0**-32:
        return 0, 0
    mantissa, exponent = math.frexp(factor)
    scaled = [Fraction(mantissa) * 2**width for width in range(32)]
    on_grid = [w for w in range(1, 17) if abs(half_up(scaled[w]) / scaled[w] - 1) <= Fraction(1, 2**21)]
    width = min(on_grid, default=bits if bits > 16 else 31)
    return half_up(scaled[width]), width - exponent


def stock_multiplier(factor: float) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: 31 bits, and the shift to the right beyond them."""
    if factor < 2.0**-32:
        return 0, 0
    mantissa, exponent = math.frexp(factor)
    multiplier = half_up(Fraction(mantissa) * 2**31)
    return (1 << 30, -exponent - 1) if multiplier == 1 << 31 else (multiplier, -exponent)


def rounded(value: int, shift: int) -> int:
    """`value / 2**shift`, halves up."""
    return value << -shift if shift < 0 else (2 * value + (1 << shift)) // (2 << shift)


def rounded_away(value: int, divisor: int) -> int:
    """`value / divisor`, halves away from zero; divisor > 0."""
    magnitude = (2 * abs(value) + divisor) // (2 * divisor)
    return -magnitude if value < 0 else magnitude


def narrow_rescale(acc: int, multiplier: int, shift: int) -> int:
    """`acc * multiplier / 2**shift` with one rounding."""
    return rounded(int(acc) * int(multiplier), int(shift))


def stock_rescale(acc: int, multiplier: int, shift: int) -> int:
    """TFLite's MultiplyByQuantizedMultiplier: `/ 2**31` with halves up, then `/ 2**shift` with halves away from zero.

    shift: -31..31; a negative one is to the left, before all, where 32 bits are kept.
    """
    acc, shift = int(acc) << max(0, -int(shift)), max(0, int(shift))
    kept = (acc + (1 << 31)) % (1 << 32) - (1 << 31)
    return rounded_away(rounded(kept * int(multiplier), 31), 1 << shift)


def outputs(rescale, accumulators: np.ndarray, multipliers, shifts, zero_point: int) -> np.ndarray:
    """int8 [..., channels] of integer accumulators with one of the two rescales above."""
    values = np.frompyfunc(rescale, 3, 1)(accumulators, np.asarray(multipliers), np.asarray(shifts))
    return np.clip(values + int(zero_point), -128, 127).astype(np.int8)


def output_size(size: int, kernel: int, stride: int, dilation: int, same: bool) -> tuple[int, int]:
    """How many windows, and how far the first one reaches out."""
    reach = (kernel - 1) * dilation + 1
    if not same:
        return (size - reach) // stride + 1, 0
    count = (size + stride - 1) // stride
    return count, max(0, (count - 1) * stride + reach - size) // 2


def windows(image: np.ndarray, window) -> np.ndarray:
    """Integers [batches, oh, ow, kh, kw, channels] under each window of a native.Window; None outside the image."""
    w = window
    shape = (w.batches, w.output_height, w.output_width, w.kernel_height, w.kernel_width, w.input_channels)
    result = np.full(shape, None, object)
    for b, oy, ox, ky, kx in itertools.product(*map(range, shape[:5])):
        y = oy * w.stride_height + ky * w.dilation_height - w.pad_top
        x = ox * w.stride_width + kx * w.dilation_width - w.pad_left
        if 0 <= y < w.input_height and 0 <= x < w.input_width:
            result[b, oy, ox, ky, kx] = image[b, y, x].tolist()
    return result


def centred(view: np.ndarray, zero_point: int) -> np.ndarray:
    """int64, zero outside the image."""
    return np.where(np.equal(view, None), zero_point, view).astype(np.int64) - zero_point
