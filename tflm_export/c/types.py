# SPDX-License-Identifier: Apache-2.0
"""Types of elements and kinds of factors, as kernels/narrow_types.h names them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.c.epilogue import stock_shifts
from tflm_export.c.initializer import initializer
from tflm_export.c.step import UnsupportedError
from tflm_export.rescale import (
    MAX_BITS,
    WIDE_BITS,
    Rescale,
    Rescaler,
    RoundingShift,
    StockRescale,
    WideNarrowRescale,
    WideStockRescale,
    cut_to_wide,
)

_INT64_LIMIT = 2.0**63
_INT32_LIMIT = 1 << 31
_INT32_BITS = 32  # a shift by so many leaves nothing of what 32 bits hold, with its half
_LARGEST_SHIFT = 63  # gives 0


def literal(dtype) -> str:
    """A type of integers as a narrow_type.

    Raises:
      UnsupportedError: it is none.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu" or dtype.name in ("uint16", "uint32", "uint64"):
        raise UnsupportedError(f"{dtype.name.upper()} is no type of integers that kernels know")
    return f"NARROW_{dtype.name.upper()}"


@dataclasses.dataclass(frozen=True)
class Factors:
    """What a rescaler is for a kernel.

    Attributes:
      rounding: a narrow_rounding.
      multiplier: int32 array.
      shift: int8 array of its shape.
    """

    rounding: str
    multiplier: np.ndarray
    shift: np.ndarray

    def constants(self, name: str = "") -> dict[str, np.ndarray]:
        """Its arrays; names begin with `name`."""
        return {f"{name}multiplier": self.multiplier, f"{name}shift": self.shift}

    def statement(self, name: str = "") -> str:
        """The narrow_factors `NAMEfactors` of the arrays that `constants` names."""
        fields = initializer({"multiplier": f"{name}multiplier", "shift": f"{name}shift"})
        return f"static const narrow_factors {name}factors = {fields};"


def factors(rescaler: Rescaler, reach) -> Factors:
    """A rescaler for a kernel, in its own shape made flat.

    Args:
      rescaler: of any kind but those that multiply in floating point.
      reach: float64, broadcasts against the factors: the largest |accumulator| over all inputs.

    Raises:
      UnsupportedError: there is no kernel for it, or it could leave 64 bits.
    """
    return alike([(rescaler, reach)])[0]


def alike(given: Sequence[tuple[Rescaler, object]]) -> list[Factors]:
    """Several rescalers for a kernel that multiplies with all of them in one way: the fastest there is.

    Args:
      given: a rescaler and its reach, as `factors` takes them.

    Raises:
      UnsupportedError: as `factors`; or no way serves them all.
    """
    ways = [{way.rounding: way for way in _ways(rescaler, reach)} for rescaler, reach in given]
    shared = [rounding for rounding in ways[0] if all(rounding in way for way in ways)]
    if not shared:
        slowest = sorted({list(way)[-1] for way in ways})
        raise UnsupportedError(f"its factors round in several ways: {', '.join(slowest)}")
    return [way[shared[0]] for way in ways]


def _ways(rescaler: Rescaler, reach) -> list[Factors]:
    """How kernels could compute a rescaler, the fastest way first."""
    if type(rescaler) is RoundingShift:
        return [Factors("NARROW_AWAY", np.ones(1, np.int32), np.array([rescaler.exponent], np.int8))]
    if type(rescaler) is StockRescale:
        return [_factors("NARROW_TWICE", rescaler.multiplier, np.minimum(stock_shifts(rescaler), MAX_BITS))]
    if type(rescaler) is WideStockRescale:
        return [_factors("NARROW_ONCE_CUT", *cut_to_wide(rescaler))]
    if not isinstance(rescaler, Rescale) or type(rescaler) not in (Rescale, WideNarrowRescale):
        raise UnsupportedError(f"a {type(rescaler).__name__} has no kernel")
    multiplier = np.asarray(rescaler.multiplier)
    if type(rescaler) is WideNarrowRescale and int(multiplier.max(initial=0)) >> WIDE_BITS:
        raise UnsupportedError(f"multipliers of sums of 64 bits have up to {WIDE_BITS} bits")
    shift = np.where(multiplier == 0, 0, rescaler.shift)
    half = np.where(shift > 0, np.ldexp(1.0, shift - 1), 0)
    product = np.asarray(reach, np.float64) * multiplier
    if (np.maximum(product + half, np.ldexp(product, np.maximum(-shift, 0))) * (shift < 63) >= _INT64_LIMIT).any():
        raise UnsupportedError("its factor is too large for 64-bit arithmetic")
    wide = _factors("NARROW_ONCE", multiplier, np.minimum(shift, _LARGEST_SHIFT))
    return [*_ways_in_32_bits(multiplier, shift, np.asarray(reach, np.float64)), wide]


def _ways_in_32_bits(multiplier: np.ndarray, shift: np.ndarray, reach: np.ndarray) -> list[Factors]:
    """Those of one rounding that bounds prove to fit 32 bits, the fastest first.

    `(x * m + 2**(s-1)) >> s` is `((x * m >> (s-1)) + 1) >> 1`, which needs no room for the half, and is the same with m
    and s made larger together; and rounding x * m down to a multiple of 2**16 first changes nothing from s = 17 on.
    """
    if (shift < -_INT32_BITS).any() or (reach > _INT32_LIMIT).any():
        return []  # no such product fits
    multiplier, shift = multiplier.astype(np.int64), shift.astype(np.int64)
    is_zero = multiplier == 0
    twos = np.frexp(np.maximum(multiplier & -multiplier, 1).astype(np.float64))[1] - 1
    common = np.minimum(twos, np.maximum(shift - 1, 0))
    multiplier, shift = multiplier >> common, np.where(is_zero, _INT32_BITS, shift - common)
    ways = []
    if ((multiplier <= 1) & (shift >= 1) & ((reach < _INT32_LIMIT - 1) | (shift >= 2))).all():
        ways.append(_factors("NARROW_SHIFT", multiplier, np.minimum(shift, _INT32_BITS)))
    for rounding, dropped, largest in (("NARROW_ONCE_32", 0, _INT32_LIMIT), ("NARROW_ONCE_48", 16, 1 << 16)):
        raised = np.maximum(dropped + 1 - shift, 0)
        m = np.ldexp(multiplier.astype(np.float64), raised)  # exact
        if (m < largest).all() and (m * reach < (_INT32_LIMIT - 1) * 2.0**dropped).all():
            ways.append(_factors(rounding, m, np.minimum(shift + raised - dropped, _INT32_BITS)))
    return ways


def _factors(rounding: str, multiplier, shift) -> Factors:
    return Factors(rounding, *(np.ravel(v).astype(t) for v, t in ((multiplier, np.int32), (shift, np.int8))))
