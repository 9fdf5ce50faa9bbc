# SPDX-License-Identifier: Apache-2.0
"""Ways to multiply by a factor in 32 bits: each equals the one rounding of 64 bits on all that its bounds allow."""

import functools

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.layers import INT32_MAX, INT32_MIN
from tflm_export import kernels
from tflm_export.c import types
from tflm_export.c.types import Factors
from tflm_export.rescale import Rescale, StockRescale

pytestmark = native.requires_gcc
IN_32_BITS = ("NARROW_SHIFT", "NARROW_ONCE_32", "NARROW_ONCE_48")
_FUNCTIONS = """
#include "narrow_types.h"

#define WAY(way)                                                                                               \\
  void way##_each(int32_t count, const int32_t *m, const int8_t *s, const int32_t *x, int32_t *y) {             \\
    const narrow_factors factors = {m, s};                                                                     \\
    for (int32_t i = 0; i < count; ++i) y[i] = (int32_t)narrow_apply(way, &factors, 0, x[i]);                   \\
  }
""" + " ".join(f"WAY({way})" for way in IN_32_BITS)


@functools.cache
def functions():
    files = {"functions.c": _FUNCTIONS.encode() + b"\n"} | kernels.sources(["narrow_types.h"])
    return native.library(files, "-fno-strict-aliasing")


def apply(way: Factors, x: np.ndarray) -> np.ndarray:
    """What C gives, with the sanitizer, for one factor."""
    arrays = [way.multiplier, way.shift, x.astype(np.int32)]
    output = native.call(f"{way.rounding}_each", x.size, *arrays, output_size=4 * x.size, library=functions())
    return output.view(np.int32)


def ways(rescale: Rescale, reach) -> dict[str, Factors]:
    return {way.rounding: way for way in types._ways(rescale, reach)}


def inputs(rescale: Rescale, reach: int) -> np.ndarray:
    """Integers within a reach: its ends, those around ties, and others of every magnitude."""
    random = np.random.default_rng(0)
    m, s = int(rescale.multiplier), int(rescale.shift)
    near = random.integers(-(1 << 20), 1 << 20, 60).astype(object) * (1 << max(s, 1)) + (1 << max(s - 1, 0))
    ties = np.array([int(v) // max(m, 1) + d for v in near for d in (-1, 0, 1)], object)
    others = random.integers(INT32_MIN, INT32_MAX, 200) >> random.integers(0, 31, 200)
    low, high = max(-reach, INT32_MIN), min(reach, INT32_MAX)
    ends = [low, low + 1, -1, 0, 1, high - 1, high]
    return np.unique([int(min(max(v, low), high)) for v in [*ends, *ties, *others]])


@pytest.mark.sweep(3)
@pytest.mark.parametrize("bits", [1, 2, 8, 15, 16, 24, 31])
def test_each_way_equals_64_bits(bits):
    random, seen = np.random.default_rng(bits), set()
    for _ in range(150):
        m = int(random.integers(1 << (bits - 1), 1 << bits)) if random.random() < 0.9 else 1 << (bits - 1)
        shift, reach = int(random.integers(-3, 50)), 1 << int(random.integers(4, 32))
        reach -= int(random.integers(0, 3))
        rescale = Rescale(np.int64(m), np.int64(shift))
        x = inputs(rescale, reach)
        for rounding, way in ways(rescale, float(reach)).items():
            if rounding in IN_32_BITS:
                seen.add(rounding)
                np.testing.assert_array_equal(apply(way, x), rescale.apply(x), f"{rescale} within {reach}, {way}")
    assert bits > 16 or seen == set(IN_32_BITS)


@pytest.mark.parametrize("m", [1, 3, 255, 65535])
def test_the_largest_reach(m):
    """Up to where a product fits and no further."""
    for name, limit in (("NARROW_ONCE_32", 2**31 - 1), ("NARROW_ONCE_48", (2**31 - 1) << 16)):
        rescale = Rescale(np.int64(m), np.int64(20))
        most = min((limit - 1) // m, 1 << 31)
        found = ways(rescale, float(most))
        x = inputs(rescale, most)
        np.testing.assert_array_equal(apply(found[name], x), rescale.apply(x))
        assert most == 1 << 31 or name not in ways(rescale, float(most + 1))


def test_zero_and_shifts_that_leave_nothing():
    for rescale in (Rescale(np.int64(0), np.int64(0)), Rescale(np.int64(1), np.int64(40))):
        x = inputs(rescale, 1 << 31)
        found = ways(rescale, 2.0**31)["NARROW_SHIFT"]
        assert not apply(found, x).any()
        assert not rescale.apply(x).any()


def test_shifts_of_one_layer_are_shifts():
    channels = Rescale(np.ones(3, np.int64), np.array([4, 9, 17]))
    assert types.factors(channels, 2.0**20).rounding == "NARROW_SHIFT"
    assert types.factors(Rescale(np.array([1, 3]), np.array([4, 5])), 2.0**20).rounding == "NARROW_ONCE_32"
    assert types.factors(Rescale(np.array([1, 255]), np.array([4, 20])), 2.0**30).rounding == "NARROW_ONCE_48"
    assert types.factors(Rescale(np.array([1, (1 << 20) + 1]), np.array([4, 30])), 2.0**30).rounding == "NARROW_ONCE"


def test_what_a_kernel_multiplies_with_is_alike():
    small, large = Rescale(np.int64(1), np.int64(9)), Rescale(np.int64(200), np.int64(20))
    both = types.alike([(small, 2.0**20), (large, 2.0**30)])
    assert [found.rounding for found in both] == ["NARROW_ONCE_48"] * 2
    stock = StockRescale(np.int64(1 << 30), np.int64(40))
    with pytest.raises(types.UnsupportedError, match="its factors round in several ways: NARROW_ONCE, NARROW_TWICE"):
        types.alike([(small, 2.0**20), (stock, 2.0**20)])
