# SPDX-License-Identifier: Apache-2.0
"""A layer's epilogue: its rescale, folded into where its accumulators start, and the proof that its integers fit.

With acc the sum over raw inputs, `Zy + ((acc * m + 2**(s-1)) >> s)` equals `(acc * m + 2**(s-1) + Zy * 2**s) >> s`: the
rounding and the zero point are constants of the channel, and where m is 1 they are part of the bias.
"""

import dataclasses
import enum

import numpy as np

from tflm_export import rescale
from tflm_export.c.step import UnsupportedError
from tflm_export.rescale import Rescale, Rescaler, StockRescale

INT32_LIMIT = 1 << 31
_SATURATED = 256  # a nonzero accumulator times this leaves int8 at any zero point
_WIDEST_SHIFT = 62


class Epilogue(str, enum.Enum):
    """How a layer's kernels end; see narrow_kernels.h."""

    SHIFT = "shift"
    MULTIPLY = "multiply"
    WIDE = "wide"
    STOCK = "stock"


@dataclasses.dataclass(frozen=True)
class Channel:
    """The rescale of one channel.

    Attributes:
      multiplier, shift: `acc * multiplier >> shift`, shift not negative.
      constant: the one output the channel ever has, None where it depends on the input.
    """

    multiplier: int
    shift: int
    constant: int | None = None


@dataclasses.dataclass(frozen=True)
class FoldedRescale:
    """The rescale of a layer.

    Attributes:
      epilogue: which kernel computes it.
      start, multiplier, fold: int32 [channels]; the latter two None where the kernel does not read them. Of STOCK, fold
        is there if narrow_end_stock_folded computes the same.
      shift: int8 [channels].
      zero_point: Zy.
      dead: bool [channels]: outputs are constant, and `start` relies on weights that are 0.
    """

    epilogue: Epilogue
    start: np.ndarray
    multiplier: np.ndarray | None
    fold: np.ndarray | None
    shift: np.ndarray
    zero_point: int
    dead: np.ndarray

    def padded(self, channels: int) -> "FoldedRescale":
        """The same with more channels, which nothing reads, behind its own: arrays of a size that a kernel wants."""
        arrays = {name: getattr(self, name) for name in ("start", "multiplier", "fold", "shift", "dead")}
        more = channels - len(self.start)
        padded = {name: np.pad(values, (0, more)) for name, values in arrays.items() if values is not None}
        return dataclasses.replace(self, **padded)

    @property
    def in_assembly(self) -> bool:
        """Whether kernels in assembly compute the end themselves, instead of leaving sums to C."""
        return self.epilogue is not Epilogue.WIDE and (self.epilogue is not Epilogue.STOCK or self.fold is not None)

    @property
    def sums_end(self) -> str:
        """The narrow_end with which C ends the sums of a loop in assembly: none where that ends them itself."""
        return "NARROW_END_NONE" if self.in_assembly else f"NARROW_END_{self.epilogue.value.upper()}"

    def constants(self, in_assembly: bool = False) -> dict[str, np.ndarray]:
        """The arrays that the kernel reads, by the name of their field in narrow_rescale."""
        fold = self.fold if in_assembly or self.epilogue is not Epilogue.STOCK else None
        arrays = {"start": self.start, "multiplier": self.multiplier, "fold": fold, "shift": self.shift}
        return {name: values for name, values in arrays.items() if values is not None}


def simplify(multiplier: int, shift: int, low: int, high: int, zero_point: int) -> Channel:
    """The smallest integers that rescale accumulators in low..high as `multiplier * 2**-shift` does, rounded once."""
    if low == high or multiplier == 0 or (shift > 0 and max(-low, high) * multiplier < 1 << (shift - 1)):
        integer = rounded(low * multiplier, shift) if low == high else 0
        return Channel(0, 0, max(-128, min(127, integer + zero_point)))
    if shift <= 0:
        return Channel(min(multiplier << -shift, _SATURATED), 0)
    common = min(shift, (multiplier & -multiplier).bit_length() - 1)
    return Channel(multiplier >> common, shift - common)


def rounded(product: int, shift: int) -> int:
    """`product / 2**shift` rounded once, halves up, in exact integers."""
    return product << -shift if shift <= 0 else (product + (1 << (shift - 1))) >> shift


@dataclasses.dataclass(frozen=True)
class Sums:
    """What the accumulators of a layer can be, in exact integers [channels].

    Attributes:
      start: what sums of raw inputs start with: the bias, and what centring the inputs adds.
      reach: bound on any partial sum over raw inputs.
      low, high: the smallest and the largest accumulator.
    """

    start: list[int]
    reach: list[int]
    low: list[int]
    high: list[int]


def fold(factors: Rescaler, sums: Sums, zero_point: int) -> FoldedRescale:
    """Folds a layer.

    Args:
      factors: [1] or [channels].
      sums: its accumulators.
      zero_point: Zy.

    Raises:
      UnsupportedError: an accumulator could leave 32 bits, or there are no kernels for such a rescale.
    """
    _require_int32(sums)
    shape = len(sums.start)
    if not isinstance(factors, Rescale) or type(factors) not in (Rescale, StockRescale):
        raise UnsupportedError(f"a {type(factors).__name__} has no kernel")
    multiplier, shift = (np.broadcast_to(values, shape) for values in (factors.multiplier, factors.shift))
    return (fold_narrow if type(factors) is Rescale else fold_stock)(Rescale(multiplier, shift), sums, zero_point)


def fold_narrow(factors: Rescale, sums: Sums, zero_point: int) -> FoldedRescale:
    """The rescale with one rounding: as a shift, in 32 bits, or in 64.

    Args:
      factors: [channels].
      sums, zero_point: as for `fold`.

    Raises:
      UnsupportedError: a shift is beyond 64 bits.
    """
    integers = zip(factors.multiplier.tolist(), factors.shift.tolist(), sums.low, sums.high, strict=True)
    channels = [simplify(*given, zero_point) for given in integers]
    dead = np.array([c.constant is not None for c in channels])
    shift = [0 if c.constant is not None else c.shift for c in channels]
    constant = [((1 << s) >> 1) + (zero_point << s) for s in shift]
    multiplier = [1 if c.constant is not None else c.multiplier for c in channels]

    def starting(added: list[int], base: int = 0) -> np.ndarray:
        """Start values with something added; those of dead channels give their output."""
        given = zip(sums.start, added, channels, strict=True)
        return _int32([s + a if c.constant is None else c.constant - base for s, a, c in given])

    shifts, none = np.array(shift, np.int8), [0] * len(channels)
    if set(multiplier) == {1} and all(
        _fits_int32(s + c, reach)
        for s, c, reach, d in zip(sums.start, constant, sums.reach, dead, strict=True)
        if not d
    ):
        return FoldedRescale(Epilogue.SHIFT, starting(constant), None, None, shifts, zero_point, dead)
    if all(
        _fits_int32(m * end) and _fits_int32(m * end + c)
        for m, c, *ends, d in zip(multiplier, constant, sums.low, sums.high, dead, strict=True)
        for end in ends
        if not d
    ):
        folds = _int32(np.where(dead, 0, constant))
        return FoldedRescale(Epilogue.MULTIPLY, starting(none), _int32(multiplier), folds, shifts, zero_point, dead)
    if max(shift) > _WIDEST_SHIFT:
        raise UnsupportedError(f"a shift of {max(shift)} bits is beyond 64-bit arithmetic")
    # The wide end adds Zy itself.
    start = starting(none, zero_point)
    return FoldedRescale(Epilogue.WIDE, start, _int32(multiplier), None, shifts, zero_point, dead)


def fold_stock(factors: Rescale, sums: Sums, zero_point: int) -> FoldedRescale:
    """The stock rescale with its second rounding and the zero point in one constant, where that is possible.

    Halves go away from zero if those of negative numbers are made a little smaller: with x the first product, rounded,
    x / 2^e is (x - (x < 0) + 2^(e-1)) >> e for e > 0. The accumulator's sign can be taken for that of x, for where
    they differ x is 0, and one less does not change the result.

    A channel whose outputs are all the same gets numbers that are surely small enough, and give them with and without
    the constant.

    Args:
      factors: 31 bits, [channels].
      sums, zero_point: as for `fold`.

    Returns:
      The rescale of epilogue STOCK; its fold is None where a channel's shift is not positive or its numbers do not fit
      32 bits, those of assembly included: twice the accumulator.

    Raises:
      UnsupportedError: a factor is beyond a left shift of 31 bits.
    """
    shifts = stock_shifts(factors)
    constant = rescale.multiply_by_quantized_multiplier_double(np.array(sums.low, np.int64), factors)
    channels, fits = [], True
    given = (sums.start, factors.multiplier.tolist(), shifts.tolist(), sums.low, sums.high, constant.tolist())
    for begin, m, e, least, most, y in zip(*given, strict=True):
        bound = max(-least, most)
        product = rounded(bound * m, 31)
        if least == most:
            y = max(-128, min(127, y + zero_point)) - zero_point
            begin, m, e, bound, product = 4 * y, 1 << 30, 1, 4 * abs(y), 2 * abs(y)
        elif m == 0 or (e > 0 and product < 1 << (e - 1)):
            m, e, product = 0, 1, 0
        fold_ = (1 << (e - 1)) + (zero_point << e) if e > 0 else 0
        fits = fits and e > 0 and 2 * bound < INT32_LIMIT and _fits_int32(fold_, product + 1)
        channels.append((begin, m, e, fold_ if fits else 0))
    start, multiplier, shift, folds = (np.array(values) for values in zip(*channels, strict=True))
    folds, shifts, dead = _int32(folds) if fits else None, shift.astype(np.int8), np.zeros(len(channels), bool)
    return FoldedRescale(Epilogue.STOCK, _int32(start), _int32(multiplier), folds, shifts, zero_point, dead)


def stock_shifts(factors: Rescale) -> np.ndarray:
    """Shifts to the right behind the doubling multiply by a 31-bit multiplier; those of zero factors are 0.

    Raises:
      UnsupportedError: a factor is beyond a left shift of 31 bits.
    """
    shifts = np.where(factors.multiplier == 0, 0, factors.shift - rescale.MAX_BITS)
    if (shifts < -31).any():
        raise UnsupportedError("its factor is too large for the stock rescale")
    return shifts


def _require_int32(sums: Sums) -> None:
    for c, (value, bound) in enumerate(zip(sums.start, sums.reach, strict=True)):
        if not _fits_int32(value, bound):
            raise UnsupportedError(f"the accumulator of channel {c} can reach {abs(value) + bound}, beyond 32 bits")


def _fits_int32(value: int, reach: int = 0) -> bool:
    """Whether the value and everything within reach of it is an int32."""
    return value - reach >= -INT32_LIMIT and value + reach < INT32_LIMIT


def _int32(values) -> np.ndarray:
    return np.array(values, np.int32)
