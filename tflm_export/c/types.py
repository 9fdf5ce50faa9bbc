# SPDX-License-Identifier: Apache-2.0
"""Types of elements and kinds of factors, as kernels/narrow_types.h names them."""

import dataclasses

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
    if type(rescaler) is RoundingShift:
        return Factors("NARROW_AWAY", np.ones(1, np.int32), np.array([rescaler.exponent], np.int8))
    if type(rescaler) is StockRescale:
        return _factors("NARROW_TWICE", rescaler.multiplier, np.minimum(stock_shifts(rescaler), MAX_BITS))
    if type(rescaler) is WideStockRescale:
        return _factors("NARROW_ONCE_CUT", *cut_to_wide(rescaler))
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
    return _factors("NARROW_ONCE", multiplier, np.minimum(shift, _LARGEST_SHIFT))


def _factors(rounding: str, multiplier, shift) -> Factors:
    return Factors(rounding, *(np.ravel(v).astype(t) for v, t in ((multiplier, np.int32), (shift, np.int8))))
