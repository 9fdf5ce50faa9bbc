# SPDX-License-Identifier: Apache-2.0
"""What general kernels with a rescale share: factors that fit their accumulators, and the end of the output."""

import numpy as np

from tflm_export.c import types
from tflm_export.c.literals import integers
from tflm_export.c.step import UnsupportedError
from tflm_export.rescale import Rescaler

INT32 = (-(1 << 31), (1 << 31) - 1)
_INT64 = (-(1 << 63), (1 << 63) - 1)
# What accumulators may be by how a factor is rounded; products of 64 bits are checked with the multiplier.
_LIMITS = {"NARROW_TWICE": INT32, "NARROW_ONCE_CUT": (-(1 << 47), 1 << 47)}
_NO_SHIFT = 63  # nothing is left of what is shifted so far to the right

Range = tuple[int, int]  # the smallest and the largest integer


def factors(rescaler: Rescaler, *ranges: Range) -> types.Factors:
    """A rescaler for accumulators within some limits.

    Args:
      rescaler: of one factor for each range.
      ranges: of the accumulators under each.

    Raises:
      UnsupportedError: there is no kernel for it, or it could leave the bits it computes with.
    """
    found = types.factors(rescaler, np.array([reach(each) for each in ranges], np.float64))
    if found.multiplier.size != len(ranges):
        raise UnsupportedError(f"{found.multiplier.size} factors for {len(ranges)} have no kernel")
    allowed = _LIMITS.get(found.rounding, _INT64)
    for low, high in ranges:
        if low < allowed[0] or high > allowed[1]:
            raise UnsupportedError(f"its rescale takes {allowed[0]} to {allowed[1]}, not {low} to {high}")
    if found.rounding == "NARROW_ONCE":
        gone = found.shift >= _NO_SHIFT
        found = types.Factors(found.rounding, np.where(gone, 0, found.multiplier), np.where(gone, 0, found.shift))
    return found


def centred(limits: Range, zero_point: int) -> Range:
    """Integers less their zero point, which kernels compute in 32 bits.

    Raises:
      UnsupportedError: they do not fit.
    """
    low, high = (end - zero_point for end in limits)
    if low < INT32[0] or high > INT32[1]:
        raise UnsupportedError(f"integers of {limits[0]} to {limits[1]} less {zero_point} leave 32 bits")
    return low, high


def reach(limits: Range) -> int:
    """The largest magnitude."""
    return max(-limits[0], limits[1])


def product(first: Range, second: Range) -> Range:
    """What products are within."""
    products = [a * b for a in first for b in second]
    return min(products), max(products)


def ends(clamp: Range, zero_point: int) -> str:
    """The clamp of an output from which its zero point is still missing; what 64 bits do not hold limits nothing."""
    low, high = (end - zero_point for end in clamp)
    return integers(max(low, _INT64[0]), min(high, _INT64[1]))
