# SPDX-License-Identifier: Apache-2.0
"""Reciprocals, logarithms and roots in C against fixed_point.py: densely, at random, around powers of two."""

import functools

import numpy as np

from tests.helpers import native
from tests.helpers.layers import INT32_MAX
from tflm_export import fixed_point, kernels

pytestmark = native.requires_gcc

_SUM_BITS = 12
_OUTPUT_BITS = 5
_FUNCTIONS = f"""
#include "narrow_fixed_point.h"

void reciprocals(int32_t count, const int32_t *a, int32_t *y) {{
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_one_over_one_plus(a[i]);
}}

void logarithms(int32_t count, const int32_t *x, int32_t *y) {{
  for (int32_t i = 0; i < count; ++i) y[i] = narrow_log(x[i], {_SUM_BITS}, {_OUTPUT_BITS});
}}

void roots(int32_t count, const int32_t *x, int32_t *multiplier) {{
  for (int32_t i = 0; i < count; ++i) narrow_inverse_square_root(x[i], &multiplier[i], &multiplier[count + i]);
}}
"""


@functools.cache
def functions():
    files = {"functions.c": _FUNCTIONS.encode()} | kernels.sources(["narrow_fixed_point.h"])
    return native.library(files, "-Wno-missing-prototypes")


def call(function: str, x: np.ndarray, outputs: int = 1) -> np.ndarray:
    """int64 [outputs, len(x)]"""
    found = native.call(function, len(x), x.astype(np.int32), output_size=4 * outputs * len(x), library=functions())
    return found.view(np.int32).astype(np.int64).reshape(outputs, -1)


def numbers(low: int) -> np.ndarray:
    """int64 from low to the largest int32: the first thousands, those around powers of two, others of every size."""
    random = np.random.default_rng(low)
    powers = np.left_shift(np.int64(1), np.arange(32))
    around = (powers[:, None] + np.arange(-40, 41)).ravel()
    halves = (3 * powers[:, None] // 2 + np.arange(-9, 10)).ravel()
    roots = (np.sqrt(0.5) * powers[:, None] + np.arange(-9, 10)).astype(np.int64).ravel()
    others = np.exp2(random.uniform(0, 31, 200_000)).astype(np.int64)
    even = np.arange(0, 1 << 31, 10_007)
    found = np.concatenate([np.arange(low, low + 5000), around, halves, roots, others, even, [INT32_MAX]])
    return np.unique(found[(found >= low) & (found <= INT32_MAX)])


def test_reciprocals():
    x = numbers(0)
    np.testing.assert_array_equal(call("reciprocals", x)[0], fixed_point.one_over_one_plus(x))


def test_logarithms():
    x = numbers(1 << 19)
    np.testing.assert_array_equal(call("logarithms", x)[0], fixed_point.log(x, _SUM_BITS, _OUTPUT_BITS))


def test_roots():
    x = numbers(0)
    np.testing.assert_array_equal(call("roots", x, 2), np.stack(fixed_point.inverse_square_root(x)))
