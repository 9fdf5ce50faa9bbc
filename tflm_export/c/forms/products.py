# SPDX-License-Identifier: Apache-2.0
"""Sums of products for the general kernels: what kernels/narrow_products.h needs to know of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflm_export.c.initializer import initializer
from tflm_export.c.step import UnsupportedError
from tflm_export.c.types import Factors, alike, literal
from tflm_export.program.value import Value, limits_of
from tflm_export.rescale import Rescaler, StockRescale, WideStockRescale, cut_to_wide

INT32_REACH = 2.0**31
_INT64_REACH = 2.0**63
_BYTE = 255  # the widest range that 8 bits hold


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums of products, and what rescales them.

    Attributes:
      is_wide: whether they have 64 bits.
      factors: their rescale.
    """

    is_wide: bool
    factors: Factors

    @property
    def type(self) -> str:
        """Their narrow_type."""
        return "NARROW_INT64" if self.is_wide else "NARROW_INT32"

    @property
    def has_many(self) -> int:
        """1 where there are several factors, else 0."""
        return int(self.factors.multiplier.size > 1)


def sums(rescaler: Rescaler, reach, is_wide: bool) -> Sums:
    """Sums with their rescale.

    Args:
      rescaler: of the sums.
      reach: float64, the largest magnitude of a sum; broadcasts against the factors.
      is_wide: whether sums have 64 bits where they need them; else they have 32, and those beyond wrap.

    Raises:
      UnsupportedError: a sum or its product with a factor could leave 64 bits, or there is no kernel for the rescale.
    """
    return alike_sums([(rescaler, reach)], is_wide)[0]


def alike_sums(given: Sequence[tuple[Rescaler, np.ndarray]], is_wide: bool = True) -> list[Sums]:
    """Several sums of one type whose rescales multiply in one way.

    Args:
      given: the rescaler and the reach of each, as `sums` takes them.
      is_wide: as for `sums`.

    Raises:
      UnsupportedError: as `sums`; or no way to rescale serves them all.
    """
    pairs = [(rescaler, np.asarray(reach, np.float64)) for rescaler, reach in given]
    is_wide = is_wide and any(reach.max(initial=0) >= INT32_REACH for _, reach in pairs)
    if is_wide:
        for rescaler, reach in pairs:
            _require_int64(rescaler, reach)
    else:
        pairs = [(rescaler, np.minimum(reach, INT32_REACH)) for rescaler, reach in pairs]
    return [Sums(is_wide, found) for found in alike(pairs)]


def _require_int64(rescaler: Rescaler, reach: np.ndarray) -> None:
    largest = float(reach.max(initial=0))
    if largest >= _INT64_REACH:
        raise UnsupportedError(f"a sum of products can reach {largest:.3g}, beyond 64 bits")
    if type(rescaler) is StockRescale and largest >= INT32_REACH:
        raise UnsupportedError(f"a sum of products can reach {largest:.3g}, beyond the 32 bits that its rescale takes")
    if type(rescaler) is WideStockRescale:
        multiplier, shift = cut_to_wide(rescaler)
        if (reach * multiplier + np.ldexp(0.5, shift) >= _INT64_REACH).any():
            raise UnsupportedError(f"a sum of products can reach {largest:.3g}; with its factor it leaves 64 bits")


def bias_array(bias: np.ndarray, is_wide: bool) -> np.ndarray:
    """A bias in the type that kernels read it in: int32, where its low 32 bits are enough, else int64."""
    low, high = limits_of(np.int32)
    fits = bias.size == 0 or (low <= int(bias.min()) and int(bias.max()) <= high)
    return bias.astype(np.int32 if fits or not is_wide else np.int64)


def stored_weights(centred: np.ndarray) -> tuple[np.ndarray, int]:
    """Centred weights in as few bits as hold them: integers, and their zero point."""
    low, high = int(centred.min(initial=0)), int(centred.max(initial=0))
    least, most = limits_of(np.int8)
    if high - low > _BYTE:
        return centred.astype(np.int16), 0
    zero_point = least - low if low < least else most - high if high > most else 0
    return (centred + np.int16(zero_point)).astype(np.int8), zero_point


def elements(name: str, dtype, zero_point: int, array: str) -> str:
    """The statement that makes a narrow_elements NAME of an array."""
    fields = {"type": short(dtype), "zero_point": zero_point, "array": array, "at": 0, "step": 1}
    return f"const narrow_elements {name} = {initializer(fields)};"


def output(name: str, value: Value, zero_point: int, clamp: tuple[int, int] | None = None) -> str:
    """The statement that makes a narrow_output NAME of an output."""
    low, high = clamp or value.limits
    fields = {"type": short(value.dtype), "zero_point": zero_point, "low": low, "high": high}
    return f"static const narrow_output {name} = {initializer(fields)};"


def short(dtype) -> str:
    """The narrow_type of elements that are multiplied, of 8 or 16 bits.

    Raises:
      UnsupportedError: they are wider.
    """
    if np.dtype(dtype).itemsize > 2:
        raise UnsupportedError(f"elements of {np.dtype(dtype).name.upper()} have more than 16 bits")
    return literal(dtype)
