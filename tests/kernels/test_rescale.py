# SPDX-License-Identifier: Apache-2.0
"""The last step of an accumulator in C: every shift there is, around every tie, with all integers at their ends."""

import functools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.layers import INT32_MAX, INT32_MIN, half
from tflm_export import kernels

pytestmark = native.requires_gcc

ZERO_POINTS = (-128, -127, -1, 0, 1, 127)
EXTREMES = (INT32_MIN, INT32_MIN + 1, -(1 << 30), -1, 0, 1, (1 << 30) - 1, INT32_MAX - 1, INT32_MAX)
_FUNCTIONS = b"""
#include "narrow_rescale.h"

#define END(name)                                                                                                  \\
  void name(int32_t count, const narrow_rescale *rescale, const int32_t *acc, int8_t *y) {                          \\
    for (int32_t i = 0; i < count; ++i) y[i] = narrow_end_##name(rescale, i, acc[i]);                               \\
  }
END(shift) END(multiply) END(wide) END(stock) END(stock_folded)

#define PAIR(name)                                                                                                 \\
  void name(int32_t count, const int32_t *a, const int32_t *b, int32_t *y) {                                        \\
    for (int32_t i = 0; i < count; ++i) y[i] = narrow_##name(a[i], b[i]);                                           \\
  }
PAIR(doubling_high_multiply_64) PAIR(doubling_high_multiply_32) PAIR(doubling_high_multiply)
PAIR(doubling_high_multiply_32_30) PAIR(doubling_high_multiply_30) PAIR(rounding_divide_by_pot)

void stock_rescale(int32_t count, const int32_t *a, const int32_t *m, const int32_t *shift, int32_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_stock_rescale(a[i], m[i], shift[i]);
}

void saturate(int32_t count, const int32_t *x, int8_t *y) {
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_saturate(x[i]);
}
"""


@functools.cache
def functions():
    """The inline functions of the header, each over arrays."""
    files = {"functions.c": _FUNCTIONS} | kernels.sources(["narrow_rescale.h"])
    return native.library(files, "-fno-strict-aliasing")


def call(function: str, *arguments, bytes_each: int = 1) -> np.ndarray:
    count = len(arguments[-1])
    arrays = [np.asarray(a).astype(np.int32) if isinstance(a, np.ndarray) else a for a in arguments]
    output = native.call(function, count, *arrays, output_size=count * bytes_each, library=functions())
    return output.view(np.int32) if bytes_each == 4 else output


def accumulators(shift: int) -> np.ndarray:
    """int64: the ends of int32, values of every magnitude, and those around ties of a right shift."""
    random = np.random.default_rng(shift + 31)
    shift = min(max(shift, 0), 31)
    most = min(300, 1 << (31 - shift))
    ties = (random.integers(-most, most, 60) << shift) + half(shift) + random.integers(-1, 2, 60)
    others = random.integers(INT32_MIN, INT32_MAX, 40) >> random.integers(0, 31, 40)
    return np.unique(np.clip(np.concatenate([EXTREMES, ties, others]), INT32_MIN, INT32_MAX))


def stock_multipliers(shift: int) -> list[int]:
    return [0, 1 << 30, (1 << 30) + 1, int(np.random.default_rng(shift + 31).integers(1 << 30, INT32_MAX)), INT32_MAX]


def pairs(shift: int, multipliers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """All accumulators with all multipliers, int64."""
    return tuple(values.reshape(-1) for values in np.meshgrid(accumulators(shift), np.array(multipliers, np.int64)))


def in_int32(*values: np.ndarray) -> np.ndarray:
    return np.all([(np.asarray(v) >= INT32_MIN) & (np.asarray(v) <= INT32_MAX) for v in values], axis=0)


def rescaled(rescale, acc: np.ndarray, multiplier, shift: int) -> np.ndarray:
    """Exact integers."""
    return np.frompyfunc(rescale, 3, 1)(acc, multiplier, shift)


def assert_ends(end: str, acc, shift: int, zero_point: int, values, **fields) -> None:
    """values: integers before the zero point is added."""
    zero = zero_point if end in ("wide", "stock") else 0
    given_ = native.Rescale(zero, shift=np.full(len(acc), shift), **fields)
    wanted = np.clip(values + zero_point, -128, 127).astype(np.int8)
    np.testing.assert_array_equal(call(end, given_, acc), wanted, f"{end}, shift {shift}, zero point {zero_point}")


def test_saturate():
    x = np.array([*EXTREMES, INT32_MIN + 127, INT32_MIN + 128, -65536, INT32_MAX - 128, *range(-1000, 1001)])
    np.testing.assert_array_equal(call("saturate", x), np.clip(x, -128, 127))


@pytest.mark.parametrize("shift", range(32))
def test_shift(shift):
    """The accumulator holds rounding and zero point already."""
    acc = accumulators(shift)
    assert_ends("shift", acc, shift, 0, acc >> shift)
    values = rescaled(definition.narrow_rescale, acc, 1, shift)
    for zero_point in ZERO_POINTS:
        folded = acc + half(shift) + (zero_point << shift)
        fit = in_int32(folded)
        assert_ends("shift", folded[fit], shift, zero_point, values[fit])


@pytest.mark.parametrize("shift", range(32))
def test_multiply(shift):
    acc = accumulators(shift)
    largest = INT32_MAX // np.maximum(1, np.abs(acc))
    some = np.random.default_rng(shift).integers(0, largest + 1)
    multiplier = np.concatenate([np.zeros_like(acc), np.ones_like(acc), some, largest])
    acc = np.tile(acc, 4)
    values, checked = rescaled(definition.narrow_rescale, acc, multiplier, shift), 0
    for zero_point in ZERO_POINTS:
        fold = half(shift) + (zero_point << shift)
        fit = in_int32(acc * multiplier, acc * multiplier + fold) & in_int32(fold)
        fields = {"multiplier": multiplier[fit], "fold": np.full(fit.sum(), fold if fit.any() else 0)}
        assert_ends("multiply", acc[fit], shift, zero_point, values[fit], **fields)
        checked += fit.sum()
    assert checked > 200


@pytest.mark.parametrize("shift", range(63))
def test_wide(shift):
    random = int(np.random.default_rng(shift).integers(0, INT32_MAX))
    acc, multiplier = pairs(shift, [0, 1, 255, 1 << 30, random, INT32_MAX])
    values = rescaled(definition.narrow_rescale, acc, multiplier, shift)
    for zero_point in ZERO_POINTS:
        assert_ends("wide", acc, shift, zero_point, values, multiplier=multiplier)


@pytest.mark.parametrize("shift", range(-31, 32))
def test_stock(shift):
    acc, multiplier = pairs(shift, stock_multipliers(shift))
    values = rescaled(definition.stock_rescale, acc, multiplier, shift)
    shifts = np.full(len(acc), shift)
    np.testing.assert_array_equal(call("stock_rescale", acc, multiplier, shifts, bytes_each=4), values)
    for zero_point in ZERO_POINTS:
        assert_ends("stock", acc, shift, zero_point, values, multiplier=multiplier)


@pytest.mark.parametrize("shift", range(1, 32))
def test_stock_folded(shift):
    """Where all fits, as fold_stock proves it."""
    acc, multiplier = pairs(shift, stock_multipliers(shift))
    small = np.abs(acc) < 1 << 30
    acc, multiplier = acc[small], multiplier[small]
    product = rescaled(definition.stock_rescale, acc, multiplier, 0).astype(np.int64)
    values, checked = rescaled(definition.stock_rescale, acc, multiplier, shift), 0
    for zero_point in ZERO_POINTS:
        fold = half(shift) + (zero_point << shift)
        fit = in_int32(product + fold - 1, product + fold) & in_int32(fold - 1, fold)
        fields = {"multiplier": multiplier[fit], "fold": np.full(fit.sum(), fold if fit.any() else 0)}
        assert_ends("stock_folded", acc[fit], shift, zero_point, values[fit], **fields)
        checked += fit.sum()
    assert checked > 200


INT32 = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from(EXTREMES))
NOT_NEGATIVE = st.one_of(st.integers(0, INT32_MAX), st.sampled_from([0, 1, 0xFFFF, 0x10000, 0x7FFF8000, INT32_MAX]))


@given(st.lists(st.tuples(INT32, NOT_NEGATIVE), min_size=1, max_size=50))
def test_products_of_halves_carry_as_the_whole_one_does(factors):
    a, b = np.array(factors, np.int64).T
    values = rescaled(definition.stock_rescale, a, b, 0)
    for name in ("doubling_high_multiply", "doubling_high_multiply_64", "doubling_high_multiply_32"):
        np.testing.assert_array_equal(call(name, a, b, bytes_each=4), values, name)
    small = np.abs(a) < 1 << 30
    for name in ("doubling_high_multiply_30", "doubling_high_multiply_32_30"):
        np.testing.assert_array_equal(call(name, a[small], b[small], bytes_each=4), values[small], name)


# What is left out would leave 32 bits; rounded products are never there, they end at -2^31 + 1 and 2^31 - 2.
DIVISIONS = st.tuples(INT32, st.integers(1, 31)).filter(lambda d: d[0] != INT32_MIN and d != (INT32_MAX, 1))


@given(st.lists(DIVISIONS, min_size=1, max_size=50))
@example([(INT32_MIN + 1, 1), (INT32_MAX - 1, 1), (INT32_MAX, 2), (INT32_MAX, 12)])  # SOFTMAX has the last one
def test_rounding_divide_by_pot(divisions):
    x, exponent = np.array(divisions, np.int64).T
    values = [definition.rounded_away(int(v), 1 << int(e)) for v, e in divisions]
    np.testing.assert_array_equal(call("rounding_divide_by_pot", x, exponent, bytes_each=4), values)
