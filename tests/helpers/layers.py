# SPDX-License-Identifier: Apache-2.0
"""Layers with weights for the kernels: those that the exporter folds, and any that narrow_kernels.h allows."""

import dataclasses
import random as python_random

import numpy as np
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import Epilogue, FoldedRescale, Sums, UnsupportedError, fold
from tflm_export import rescale

INT8 = st.integers(-128, 127)
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
SCALES = st.one_of(st.floats(1e-4, 10.0), st.builds(np.ldexp, st.integers(1, 15), st.integers(-9, 0)))
ZERO_POINTS = st.sampled_from([-128, -127, -3, 0, 5, 127])


def fits(*values: int) -> bool:
    """Whether all are int32."""
    return all(INT32_MIN <= v <= INT32_MAX for v in values)


def half(shift: int) -> int:
    """What rounds a right shift: 2**(shift - 1), 0 at shift 0."""
    return (1 << shift) >> 1


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer as one kernel is given it: weights int8 [channels, elements], expected int8 [..., channels]."""

    epilogue: Epilogue
    rescale: native.Rescale
    weights: np.ndarray
    expected: np.ndarray


@dataclasses.dataclass
class Layer:
    """A layer with real factors: weights int8 [channels, taps, inputs], bias integers, factors float64 [channels]."""

    weights: np.ndarray
    bias: np.ndarray
    factors: np.ndarray
    bits: int
    input_zero: int
    output_zero: int

    def folded(self, rounding: str = "narrow") -> FoldedRescale:
        rows = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        positive, negative = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
        low, high = -128 - self.input_zero, 127 - self.input_zero
        sums = Sums(
            (self.bias - self.input_zero * (positive + negative)).tolist(),
            (128 * (positive - negative)).tolist(),
            (positive * low + negative * high + self.bias).tolist(),
            (positive * high + negative * low + self.bias).tolist(),
        )
        return fold(self.factors, self.bits, rounding, sums, self.output_zero)

    def expected(self, accumulators: np.ndarray) -> np.ndarray:
        multipliers, shifts = zip(*(definition.held(factor, self.bits) for factor in self.factors), strict=True)
        return definition.outputs(definition.narrow_rescale, accumulators, multipliers, shifts, self.output_zero)

    def expected_stock(self, accumulators: np.ndarray) -> np.ndarray:
        multipliers, shifts = zip(*map(definition.stock_multiplier, self.factors), strict=True)
        return definition.outputs(definition.stock_rescale, accumulators, multipliers, shifts, self.output_zero)

    def cases(self, accumulators: np.ndarray) -> list[Case]:
        """Every end that can compute it; accumulators are integers [..., channels] with bias and offset."""
        try:
            ends = [folded := self.folded()]
        except UnsupportedError:
            assert np.abs(self.bias).max() > 1 << 29  # nothing else brings 32 bits into reach here
            return []
        if folded.epilogue is Epilogue.SHIFT:
            ends.append(_as_multiply(folded))
        if folded.epilogue is not Epilogue.WIDE:
            ends.append(_as_wide(folded))
        rows = self.weights.reshape(len(self.weights), -1)
        alive = np.where(folded.dead[:, None], 0, rows).astype(np.int8)
        expected = self.expected(accumulators)
        cases = [Case(end.epilogue, native.rescale_of(end), alive, expected) for end in ends]
        if self.factors.max() < 2.0**30:
            stock, expected = self.folded("tflm"), self.expected_stock(accumulators)
            cases += [Case(stock.epilogue, native.rescale_of(stock, a), rows, expected) for a in (False, True)]
        return cases


def _constant(folded) -> np.ndarray:
    shift = folded.shift.astype(np.int64)
    return np.where(folded.dead, 0, ((1 << shift) >> 1) + (np.int64(folded.zero_point) << shift))


def _as_multiply(folded: FoldedRescale) -> FoldedRescale:
    """A layer of shifts for the kernel with multipliers."""
    constant, ones = _constant(folded).astype(np.int32), np.ones(len(folded.shift), np.int32)
    start = folded.start - constant
    return dataclasses.replace(folded, epilogue=Epilogue.MULTIPLY, start=start, multiplier=ones, fold=constant)


def _as_wide(folded: FoldedRescale) -> FoldedRescale:
    """A layer for the kernel with 64-bit arithmetic."""
    if folded.epilogue is Epilogue.SHIFT:
        folded = _as_multiply(folded)
    start = folded.start - np.where(folded.dead, folded.zero_point, 0).astype(np.int32)
    return dataclasses.replace(folded, epilogue=Epilogue.WIDE, start=start, fold=None)


@dataclasses.dataclass
class AnyLayer:
    """A layer whose integers need not come from any factor: weights as in Layer, lists of integers [channels]."""

    weights: np.ndarray
    input_zero: int
    output_zero: int
    epilogue: Epilogue
    bias: list[int]
    multiplier: list[int]
    shift: list[int]

    def cases(self, accumulators: np.ndarray) -> list[Case]:
        """The one of its end, with what the header says of `narrow_rescale`."""
        rows = self.weights.reshape(len(self.weights), -1)
        folds = [half(s) + (self.output_zero << s) if s >= 0 else 0 for s in self.shift]
        offsets = [-self.input_zero * int(row.sum(dtype=np.int64)) for row in rows]
        if self.epilogue is Epilogue.SHIFT:
            offsets = [o + f for o, f in zip(offsets, folds, strict=True)]
        start = [b + o for b, o in zip(self.bias, offsets, strict=True)]
        own = {
            Epilogue.SHIFT: {},
            Epilogue.MULTIPLY: {"multiplier": self.multiplier, "fold": folds},
            Epilogue.WIDE: {"multiplier": self.multiplier},
            Epilogue.STOCK: {"multiplier": self.multiplier},
        }[self.epilogue]
        zero = self.output_zero if self.epilogue in (Epilogue.WIDE, Epilogue.STOCK) else 0
        definition_of = definition.stock_rescale if self.epilogue is Epilogue.STOCK else definition.narrow_rescale
        expected = definition.outputs(definition_of, accumulators, self.multiplier, self.shift, self.output_zero)
        return [Case(self.epilogue, native.Rescale(zero, start=start, shift=self.shift, **own), rows, expected)]


def weights_of(draw, shape) -> np.ndarray:
    """int8, random, at their ends, or with whole channels of zeros."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "random", "extreme", "sparse"]))
    weights = random.integers(-127, 128, shape).astype(np.int8)
    if kind == "extreme":
        weights = random.choice([-128, 127], shape).astype(np.int8)
    if kind == "sparse":  # some channels without any weight
        weights[random.random(len(weights)) < 0.5] = 0
    return weights


@st.composite
def layers(draw, channels: int, taps: int, inputs: int) -> Layer:
    """As they are exported."""
    weights = weights_of(draw, (channels, taps, inputs))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0, 100, 20_000, 2_000_000, 1_000_000_000]))
    bias = random.integers(-spread, spread + 1, channels)
    largest = max(1.0, 128.0 * np.abs(weights).sum((1, 2)).max(initial=1), float(spread))
    middle = np.log2(200 / largest)
    exponent = draw(st.sampled_from([0, 0, 0, 4, -8, 12, -30]))
    factors = 2.0 ** (middle + exponent + random.uniform(-1, 1, channels))
    if draw(st.booleans()):
        factors[random.integers(channels)] = draw(st.sampled_from([0.0, 2.0**-33, 0.75, 1.0, 3.0, 40.0, 2.0**20]))
    bits = draw(st.sampled_from([1, 1, 2, 4, 8, 16, 31]))
    if draw(st.sampled_from([True, True, False])):  # else the layer could not be narrowed
        factors = rescale.decompose(factors, bits).value
    return Layer(weights, bias, factors, bits, draw(ZERO_POINTS), draw(ZERO_POINTS))


@st.composite
def any_layers(draw, channels: int, taps: int, inputs: int) -> AnyLayer:
    """Over all that the header allows: shifts and multipliers at their ends, accumulators up to those of int32."""
    weights = weights_of(draw, (channels, taps, inputs))
    zeros, end = (draw(ZERO_POINTS), draw(ZERO_POINTS)), draw(st.sampled_from(list(Epilogue)))
    random = python_random.Random(draw(st.integers(0, 2**32 - 1)))
    rescales = [_channel(random, end, row.reshape(-1), *zeros) for row in weights]
    return AnyLayer(weights, *zeros, end, *(list(values) for values in zip(*rescales, strict=True)))


def _channel(random, end: Epilogue, row: np.ndarray, input_zero: int, output_zero: int) -> tuple[int, int, int]:
    """bias, multiplier and shift, drawn until an end may be given them."""
    positive, negative = (int(f(row, 0).sum(dtype=np.int64)) for f in (np.maximum, np.minimum))
    reach, span = 128 * (positive - negative), 255 * (positive - negative)
    while True:
        multiplier, shift = _rescale(random, end, span)
        fold_ = half(shift) + (output_zero << shift) if end in (Epilogue.SHIFT, Epilogue.MULTIPLY) else 0
        offset = -input_zero * (positive + negative) + (fold_ if end is Epilogue.SHIFT else 0)
        kind = random.random()
        if kind < 0.5:
            bias = random.randint(-span, span)
        elif kind < 0.8:
            bias = magnitude(random, 31)
        else:  # as far as it goes
            bias = random.choice([INT32_MAX - reach, INT32_MIN + reach]) - offset
        ends = [
            multiplier * (bias + p * (127 - input_zero) + n * (-128 - input_zero))
            for p, n in ((positive, negative), (negative, positive))
        ]
        is_narrow = end is not Epilogue.MULTIPLY or fits(fold_, *ends, *(e + fold_ for e in ends))
        if fits(bias, bias + offset - reach, bias + offset + reach) and is_narrow:
            return bias, multiplier, shift


def _rescale(random, end: Epilogue, span: int) -> tuple[int, int]:
    """A multiplier and a shift; mostly ones after which a span of accumulators is neither constant nor saturated."""
    if end is Epilogue.STOCK:
        multiplier = random.choice([0, 1 << 30, INT32_MAX, *(random.randint(1 << 30, INT32_MAX) for _ in range(7))])
        return multiplier, random.randint(-31, 31)
    most = {Epilogue.SHIFT: 0, Epilogue.MULTIPLY: 16, Epilogue.WIDE: 31}[end]
    multiplier = min(random.randint(0, 1 << random.randint(0, most)), INT32_MAX) if most else 1
    widest = 62 if end is Epilogue.WIDE else 31
    if random.random() < 0.75:
        return multiplier, max(0, min(widest, (span * multiplier).bit_length() - random.randint(2, 10)))
    return multiplier, random.randint(0, widest)


def magnitude(random, bits: int) -> int:
    """Of either sign, below 2**bits, of every order of magnitude alike."""
    limit = 1 << random.randint(0, bits)
    return random.randint(1 - limit, limit - 1)


def images(draw, shape, zero_point: int) -> np.ndarray:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "random", "ends", "constant"]))
    if kind == "ends":
        return random.choice([-128, 127], shape).astype(np.int8)
    if kind == "constant":
        return np.full(shape, draw(st.sampled_from([-128, zero_point, 127])), np.int8)
    return random.integers(-128, 128, shape).astype(np.int8)
