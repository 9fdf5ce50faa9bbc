# SPDX-License-Identifier: Apache-2.0
"""Vectors for rescalers in hardware: random ones, corners and ties, and what has to come of them."""

import dataclasses

import numpy as np

from tflm_export.rescale import Rescale, StockRescale
from tflm_export.signed_digits import TwoDigits


@dataclasses.dataclass(frozen=True)
class Shape:
    """A rescaler's parameters, as far as they decide what it computes.

    Attributes:
      k: bits of its multipliers; 31 is the stock one, "csd" the one of two signed digits.
      acc_bits, shift_min, shift_bits, out_bits: as in the Verilog.
    """

    k: int | str = 8
    acc_bits: int = 32
    shift_min: int = 1
    shift_bits: int = 5
    out_bits: int = 8

    @property
    def block(self) -> str:
        """The module that it is of."""
        return {31: "tflm_rescale", "csd": "narrow_rescale_csd"}.get(self.k, "narrow_rescale")

    @property
    def parameters(self) -> dict[str, int]:
        """Of the module."""
        width = {"MULTIPLIER_BITS": self.k} if self.block == "narrow_rescale" else {}
        sizes = {"ACC_BITS": self.acc_bits, "SHIFT_MIN": self.shift_min, "SHIFT_BITS": self.shift_bits}
        return width | sizes | {"OUT_BITS": self.out_bits}

    @property
    def multipliers(self) -> tuple[int, ...]:
        """Those at both ends, or all."""
        if self.k == "csd":
            return 0, 1, 3, 5, 7, 9
        return tuple(sorted({1 << (self.k - 1), (1 << (self.k - 1)) + (self.k > 1), (1 << self.k) - 1}))

    @property
    def shifts(self) -> tuple[int, int]:
        """The smallest and the largest."""
        return self.shift_min, self.shift_min + (1 << self.shift_bits) - 1


@dataclasses.dataclass(frozen=True)
class Vectors:
    """int64 [vectors] each: acc * m * 2**-s + zero_point, clamped."""

    accumulator: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.accumulator)

    def __getitem__(self, which) -> "Vectors":
        return Vectors(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))

    def expected(self, shape: Shape) -> np.ndarray:
        """What the simulator makes of them."""
        rescale = (StockRescale if shape.k == 31 else Rescale)(self.multiplier, self.shift)
        return np.clip(rescale.apply(self.accumulator) + self.zero_point, self.low, self.high)

    def ports(self, shape: Shape) -> dict[str, np.ndarray]:
        """As the module takes them."""
        clamp = {"zero_point": self.zero_point, "low": self.low, "high": self.high}
        rest = {"acc": self.accumulator, "shift": self.shift - shape.shift_min} | clamp
        if shape.k == "csd":
            distance, negative = TwoDigits().digits(self.multiplier)
            return rest | {"distance": distance, "negative": negative.astype(np.int64)}
        hidden = np.int64(1) << (shape.k - 1)
        return rest | {"multiplier": self.multiplier - hidden}

    def wrong(self, y: np.ndarray, shape: Shape) -> list[str]:
        """Of outputs that are wrong, how many there are and the first; else nothing."""
        wanted = self.expected(shape)
        where = np.flatnonzero(y != wanted)
        first = [f"{vars(self[i])} gives {y[i]}, not {wanted[i]}" for i in where[:1]]
        return [f"{shape}: {len(where)} of {len(self)}, first {line}" for line in first]


def joined(*parts: Vectors) -> Vectors:
    """Vectors behind each other."""
    names = [field.name for field in dataclasses.fields(Vectors)]
    return Vectors(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def vectors(shape: Shape, count: int, seed: int = 0) -> Vectors:
    """At least `count` vectors: a third random, a third near the ends of the output, a third ties and their neighbours;
    and all corners.
    """
    generator = np.random.default_rng(seed)
    third = -(-count // 3)
    return joined(
        _random(shape, third, generator), _near_ends(shape, third, generator), _ties(shape, third, generator),
        _corners(shape, generator),
    )  # fmt: skip


def _drawn_multipliers(shape: Shape, count: int, generator) -> np.ndarray:
    if shape.k == "csd":
        return generator.choice(shape.multipliers, count).astype(np.int64)
    any_of_them = generator.integers(1 << (shape.k - 1), 1 << shape.k, count)
    return np.where(generator.random(count) < 0.1, generator.choice(shape.multipliers, count), any_of_them)


def _clamps(shape: Shape, count: int, generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zero points, and pairs of ends: half of them those of the type, some equal."""
    low, high = -(1 << (shape.out_bits - 1)), (1 << (shape.out_bits - 1)) - 1
    zero_point = generator.integers(low, high + 1, count)
    zero_point = np.where(generator.random(count) < 0.2, generator.choice([low, -1, 0, 1, high], count), zero_point)
    ends = np.sort(generator.integers(low, high + 1, (2, count)), axis=0)
    ends[1] = np.where(generator.random(count) < 0.05, ends[0], ends[1])
    whole = generator.random(count) < 0.5
    return zero_point, np.where(whole, low, ends[0]), np.where(whole, high, ends[1])


def _drawn_shifts(shape: Shape, count: int, generator) -> np.ndarray:
    return generator.integers(shape.shifts[0], shape.shifts[1] + 1, count)


def _wrapped(accumulator: np.ndarray, shape: Shape) -> np.ndarray:
    """Within the accumulator's bits."""
    span, half = 1 << shape.acc_bits, 1 << (shape.acc_bits - 1)
    return (accumulator + half) % span - half


def _random(shape: Shape, count: int, generator) -> Vectors:
    """Accumulators of all magnitudes alike."""
    half = 1 << (shape.acc_bits - 1)
    accumulator = generator.integers(-half, half, count) >> generator.integers(0, shape.acc_bits, count)
    multiplier, shift = _drawn_multipliers(shape, count, generator), _drawn_shifts(shape, count, generator)
    return Vectors(accumulator, multiplier, shift, *_clamps(shape, count, generator))


def _near_ends(shape: Shape, count: int, generator) -> Vectors:
    """Accumulators whose output is within two of an end, or within two of where bits above the output begin."""
    multiplier, shift = _drawn_multipliers(shape, count, generator), _drawn_shifts(shape, count, generator)
    zero_point, low, high = _clamps(shape, count, generator)
    beyond = generator.choice([-1, 1], count) << generator.integers(shape.out_bits - 1, shape.out_bits + 3, count)
    output = np.where(generator.random(count) < 0.5, np.where(generator.random(count) < 0.5, low, high), beyond)
    real = (output + generator.uniform(-2, 2, count) - zero_point) * np.ldexp(1.0, shift) / np.maximum(multiplier, 1)
    bound = 2.0 ** (shape.acc_bits - 1)
    accumulator = np.clip(np.round(real), -bound, bound - 1).astype(np.int64)
    return Vectors(accumulator, multiplier, shift, zero_point, low, high)


def _ties(shape: Shape, count: int, generator) -> Vectors:
    """Products that are an odd number of halves, and accumulators one beside.

    Of m = odd * 2**t, accumulators of (2 n + 1) * 2**(s - 1 - t) are ties.
    """
    multiplier = np.maximum(_drawn_multipliers(shape, count, generator), 1)
    trailing = np.frexp((multiplier & -multiplier).astype(np.float64))[1] - 1
    lowest = np.maximum(shape.shifts[0], trailing + 1)
    highest = np.minimum(shape.shifts[1], trailing + shape.acc_bits - 1)
    shift = generator.integers(lowest, np.maximum(highest, lowest) + 1)
    shift = np.clip(shift, *shape.shifts)
    half = np.clip(shift - 1 - trailing, 0, shape.acc_bits - 1)
    small = generator.integers(-(1 << (shape.out_bits + 1)), 1 << (shape.out_bits + 1), count)
    odd = 2 * (small >> generator.integers(0, shape.out_bits + 1, count)) + 1
    accumulator = _wrapped((odd << half) + generator.choice([0, 0, 0, -1, 1], count), shape)
    return Vectors(accumulator, multiplier, shift, *_clamps(shape, count, generator))


def _corners(shape: Shape, generator) -> Vectors:
    """Powers of two and their neighbours, with multipliers at both ends and every shift."""
    powers = 1 << np.arange(shape.acc_bits - 1, dtype=np.int64)
    around = np.concatenate([sign * powers + step for sign in (1, -1) for step in (-1, 0, 1)])
    half = 1 << (shape.acc_bits - 1)
    accumulators = np.unique(np.concatenate([around, [-half, 1 - half, half - 2, half - 1, 0]]))
    shifts = np.arange(shape.shifts[0], shape.shifts[1] + 1)
    grid = np.meshgrid(accumulators, np.array(shape.multipliers, np.int64), shifts, indexing="ij")
    accumulator, multiplier, shift = (part.reshape(-1) for part in grid)
    return Vectors(accumulator, multiplier, shift, *_clamps(shape, len(shift), generator))
