"""A layer's rescale, folded into where its accumulators start, and the proof that its integers fit.

With acc the sum over raw inputs, `Zy + ((acc * m + 2**(s-1)) >> s)` equals `(acc * m + 2**(s-1) + Zy * 2**s) >> s`: the
rounding and the zero point are constants of the channel, and where m is 1 they are part of the bias.
"""

import dataclasses
import enum

import numpy as np

from tflm_export import rescale
from tflm_export.kernels.step import UnsupportedError
from tflm_export.ops.context import Rounding

INT32_LIMIT = 1 << 31
_SATURATED = 256  # a nonzero accumulator times this leaves int8 at any zero point
_WIDEST_SHIFT = 62


class End(str, enum.Enum):
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
class Folded:
    """The rescale of a layer.

    Attributes:
      end: which kernel computes it.
      start, multiplier, fold: int32 [channels]; the latter two None where the kernel does not read them. Of STOCK, fold
        is there if narrow_end_stock_folded computes the same.
      shift: int8 [channels].
      zero_point: Zy.
      dead: bool [channels]: outputs are constant, and `start` relies on weights that are 0.
    """

    end: End
    start: np.ndarray
    multiplier: np.ndarray | None
    fold: np.ndarray | None
    shift: np.ndarray
    zero_point: int
    dead: np.ndarray

    @property
    def in_assembly(self) -> bool:
        """Whether kernels in assembly compute the end themselves, instead of leaving sums to C."""
        return self.end in (End.SHIFT, End.MULTIPLY) or (self.end is End.STOCK and self.fold is not None)

    def constants(self, in_assembly: bool = False) -> dict[str, np.ndarray]:
        """The arrays that the kernel reads, by the name of their field in narrow_rescale."""
        fold = self.fold if in_assembly or self.end is not End.STOCK else None
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


def fold(
    factors: np.ndarray, bits: int, rounding: Rounding, bias: np.ndarray, offset: np.ndarray, reach: np.ndarray,
    sums: tuple[np.ndarray, np.ndarray], zero_point: int,
) -> Folded:  # fmt: skip
    """Folds a layer.

    Args:
      factors: float64 [1] or [channels], the real rescale factors.
      bits: width k that the model was narrowed to; factors it could not narrow keep 31 bits.
      rounding: NARROW, or TFLM for the stock end.
      bias: integers [channels].
      offset: integers [channels], what centring the inputs adds to the sum over raw ones: -Zx * sum(w).
      reach: integers [channels], bound on any partial sum over raw inputs.
      sums: smallest and largest accumulator with bias and offset, integers [channels] each.
      zero_point: Zy.

    Raises:
      UnsupportedError: an accumulator could leave 32 bits.
    """
    channels = len(bias)
    start = [int(b) + int(o) for b, o in zip(bias, offset, strict=True)]
    _require_int32(start, reach)
    if rounding is not Rounding.NARROW:
        stock = rescale.quantize_multiplier(np.broadcast_to(factors, channels))
        if (np.where(stock.multiplier == 0, 0, stock.shift - rescale.MAX_BITS) < -31).any():
            raise UnsupportedError("its factor is too large for the stock rescale")
        return fold_stock(stock, start, sums, zero_point)
    recovered = rescale.recover_held(np.broadcast_to(factors, channels), bits)
    low, high = ([int(v) for v in bound] for bound in sums)
    rescales = [
        simplify(int(m), int(s), *bound, zero_point)
        for m, s, *bound in zip(recovered.multiplier, recovered.shift, low, high, strict=True)
    ]
    dead = np.array([c.constant is not None for c in rescales])
    shift = [0 if c.constant is not None else c.shift for c in rescales]
    constant = [((1 << s) >> 1) + (zero_point << s) for s in shift]
    multiplier = [1 if c.constant is not None else c.multiplier for c in rescales]
    shifted = [b + c if r.constant is None else r.constant for b, c, r in zip(start, constant, rescales, strict=True)]
    if set(multiplier) == {1} and all(map(_fits_int32, shifted, np.where(dead, 0, reach).tolist())):
        return Folded(End.SHIFT, _int32(shifted), None, None, np.array(shift, np.int8), zero_point, dead)
    narrow = all(
        _fits_int32(m * end) and _fits_int32(m * end + c)
        for m, c, *ends, d in zip(multiplier, constant, low, high, dead, strict=True)
        for end in ends
        if not d
    )
    base = 0 if narrow else zero_point  # the wide end adds Zy itself
    start = [b if r.constant is None else r.constant - base for b, r in zip(start, rescales, strict=True)]
    if narrow:
        constant = np.where(dead, 0, constant)
        return Folded(
            End.MULTIPLY,
            _int32(start),
            _int32(multiplier),
            _int32(constant),
            np.array(shift, np.int8),
            zero_point,
            dead,
        )
    if max(shift) > _WIDEST_SHIFT:
        raise UnsupportedError(f"a shift of {max(shift)} bits is beyond 64-bit arithmetic")
    return Folded(End.WIDE, _int32(start), _int32(multiplier), None, np.array(shift, np.int8), zero_point, dead)


def fold_stock(
    stock: rescale.Rescale, start: list[int], sums: tuple[np.ndarray, np.ndarray], zero_point: int
) -> Folded:
    """The stock rescale with its second rounding and the zero point in one constant, where that is possible.

    Halves go away from zero if those of negative numbers are made a little smaller: with x the first product, rounded,
    x / 2^e is (x - (x < 0) + 2^(e-1)) >> e for e > 0. The accumulator's sign can be taken for that of x, for where
    they differ x is 0, and one less does not change the result.

    A channel whose outputs are all the same gets numbers that are surely small enough, and give them with and without
    the constant.

    Args:
      stock: factors [channels].
      start, sums, zero_point: as for `fold`, start with the offset.

    Returns:
      The rescale of end STOCK; its fold is None where a channel's shift is not positive or its numbers do not fit 32
      bits, those of assembly included: twice the accumulator.
    """
    shifts = np.where(stock.multiplier == 0, 0, stock.shift - rescale.MAX_BITS)
    low, high = (np.asarray(bound, np.int64) for bound in sums)
    constant = rescale.multiply_by_quantized_multiplier_double(low, stock)
    channels, fits = [], True
    given = (start, stock.multiplier, shifts, low, high, constant)
    for begin, m, e, least, most, y in zip(*(np.asarray(a).tolist() for a in given), strict=True):
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
    folds = _int32(folds) if fits else None
    no_dead = np.zeros(len(channels), bool)
    return Folded(End.STOCK, _int32(start), _int32(multiplier), folds, shift.astype(np.int8), zero_point, no_dead)


def _require_int32(start: list[int], reach) -> None:
    for c, (value, bound) in enumerate(zip(start, reach, strict=True)):
        if not _fits_int32(value, int(bound)):
            raise UnsupportedError(
                f"the accumulator of channel {c} can reach {abs(value) + int(bound)}, beyond 32 bits"
            )


def _fits_int32(value: int, reach: int = 0) -> bool:
    """Whether the value and everything within reach of it is an int32."""
    return value - reach >= -INT32_LIMIT and value + reach < INT32_LIMIT


def _int32(values) -> np.ndarray:
    return np.array(values, np.int32)
