# SPDX-License-Identifier: Apache-2.0
"""The numbers of sums, means and multipliers that hardware gets compute what the forms do, on all inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export.arithmetic import Narrow
from tflm_export.arithmetic.base import Target, Terms
from tflm_export.grid import Grid, grid_of
from tflm_export.program.pool import AveragePool
from tflm_export.program.program import Origin, Step
from tflm_export.program.value import Value
from tflm_export.program.windows import Windows, axis_of
from tflm_export.rescale import Rescale
from tflm_export.rtl.coding import coding_of
from tflm_export.rtl.hexadecimal import digits, lines, packed
from tflm_export.rtl.means import averaged
from tflm_export.rtl.sums import sum_of

ORIGIN = Origin(0, 0, "OP", "y", "operator 0 OP (y)")
GRIDS = [grid_of(bits) for bits in (1, 2, 4, 8, "csd2")]


def value(key: str, shape, dtype=np.int8) -> Value:
    return Value(key, np.dtype(dtype), tuple(shape), key)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
def test_sums_of_all_pairs(grid, signs):
    generator = np.random.default_rng(grid.bits)
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    for _ in range(20):
        scales = grid.snap(np.exp(generator.uniform(-3, 1.5, 2)))
        zeros = [int(z) for z in generator.integers(-128, 128, 3)]
        clamp = (zeros[2], 127) if generator.integers(2) else (-128, 127)
        terms = Terms((value("a", a.shape), value("b", a.shape)), tuple(scales), tuple(zeros[:2]), signs, scales)
        form = Narrow(grid).sum(terms, Target(value("y", a.shape), 1.0, zeros[2], clamp))
        found = sum_of(Step(ORIGIN, form), grid.bits)
        for term in found.terms:
            assert term.multiplier.bit_length() == grid.bits
            assert term.align >= 0
        total = (a * found.terms[0].factor + b * found.terms[1].factor + found.start) >> found.shift
        (expected,) = form.evaluate(a[None].astype(np.int8), b[None].astype(np.int8))
        np.testing.assert_array_equal(np.clip(total, *found.clamp), expected[0])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_means_of_all_sums(grid):
    generator = np.random.default_rng(grid.bits)
    for dtype in (np.int8, np.int8, np.int8, np.int16):
        count = int(generator.integers(2, 200 if dtype == np.int8 else 4))
        x, y = value("x", (count, 1), dtype), value("y", (1,), dtype)
        zeros = [int(z) for z in generator.integers(-128, 128, 2)] if dtype == np.int8 else [0, 0]
        factor = float(grid.snap(np.exp(generator.uniform(-1, 1))))
        form = Narrow(grid).mean(x, (0,), zeros[0], factor, Target(y, 1.0, zeros[1], y.limits))
        found = averaged(Step(ORIGIN, form), *x.limits)
        sums = np.arange(x.limits[0] * count, x.limits[1] * count + 1)
        assert (found.low, found.high) == (sums[0], sums[-1])
        expected = np.clip((sums * form.factor + form.start) // form.divisor, *y.limits)
        np.testing.assert_array_equal(
            np.clip((sums * found.multiplier + found.start) >> found.shift, *found.clamp), expected
        )


@pytest.mark.parametrize("factor", [0.7312345, 1.37, 0.91])
def test_means_that_were_not_narrowed(factor):
    """They get a multiplier for their outputs, which is narrower than the factor's."""
    x, y = value("x", (49, 1)), value("y", (1,))
    form = Narrow().mean(x, (0,), -3, factor, Target(y, 1.0, 9, y.limits))
    found = averaged(Step(ORIGIN, form), -128, 127)
    sums = np.arange(-128 * 49, 127 * 49 + 1)
    expected = [min(max((int(each) * form.factor + form.start) // form.divisor, -128), 127) for each in sums]
    np.testing.assert_array_equal(np.clip((sums * found.multiplier + found.start) >> found.shift, -128, 127), expected)
    assert found.multiplier.bit_length() <= 24 < form.factor.bit_length()


def test_a_mean_of_a_power_of_two_is_a_shift():
    x, y = value("x", (64, 1)), value("y", (1,))
    form = Narrow(Grid(1)).mean(x, (0,), -3, 0.5, Target(y, 1.0, 9, y.limits))
    found = averaged(Step(ORIGIN, form), -128, 127)
    assert (found.multiplier, found.shift) == (1, 7)


@pytest.mark.parametrize("size", [(2, 2), (5, 5), (25, 5), (1, 7), (8, 8)])
@pytest.mark.parametrize("clamp", [(-128, 127), (-128, 60), (-5, 100)])
def test_average_pools_of_all_sums(size, clamp):
    """Halves go away from zero there."""
    windows = Windows(*(axis_of(side + 2, side, 1, 1, same=False) for side in size))
    x, y = value("x", (1, size[0] + 2, size[1] + 2, 1)), value("y", (1, 3, 3, 1))
    form = AveragePool(inputs=(x,), outputs=(y,), windows=windows, clamp=clamp)
    count = size[0] * size[1]
    found = averaged(Step(ORIGIN, form), -128, 127)
    sums = np.arange(-128 * count, 127 * count + 1)
    away = np.sign(sums) * ((2 * np.abs(sums) + count) // (2 * count))
    got = np.clip((sums * found.multiplier + found.start) >> found.shift, *found.clamp)
    np.testing.assert_array_equal(got, np.clip(away, *clamp))
    image = np.random.default_rng(count).integers(-128, 128, (2, *x.shape), np.int8)
    total = found.sums(image)
    assert total[0, 0, 0, 0] == image[0, 0, : size[0], : size[1]].sum(dtype=int)
    np.testing.assert_array_equal(got[total - sums[0]].reshape(2, *y.shape), form.evaluate(image)[0])


def test_pools_over_the_border_have_no_numbers():
    windows = Windows(*(axis_of(4, 3, 1, 1, same=True) for _ in range(2)))
    x, y = value("x", (1, 4, 4, 1)), value("y", (1, 4, 4, 1))
    form = AveragePool(inputs=(x,), outputs=(y,), windows=windows, clamp=(-128, 127))
    assert "over the border" in averaged(Step(ORIGIN, form), -128, 127)


@given(st.data())
def test_codings(data):
    grid = data.draw(st.sampled_from(GRIDS))
    coding = coding_of(grid)
    held = grid.recover(np.array(data.draw(st.lists(st.floats(1e-6, 8.0), min_size=1, max_size=5))))
    found = coding.normalised(held)
    np.testing.assert_array_equal(found.value, held.value)
    accumulators = np.array(data.draw(st.lists(st.integers(-(1 << 23), 1 << 23), min_size=1, max_size=5)))[:, None]
    np.testing.assert_array_equal(found.apply(accumulators), held.apply(accumulators))
    assert coding.holds(held.multiplier).all()
    for _, bits, values in coding.fields(found.multiplier):
        assert ((values >= 0) & (values < 1 << bits)).all()


def test_codings_refuse_wider_multipliers():
    assert coding_of(Grid(3)).holds(np.array([0, 1, 5, 7, 40, 9, 11])).tolist() == [True] * 5 + [False] * 2
    assert coding_of(grid_of("csd2")).holds(np.array([0, 1, 7, 9, 72, 11, 13])).tolist() == [True] * 5 + [False] * 2
    zero = coding_of(Grid(3)).normalised(Rescale(np.array([0, 4]), np.array([0, 2])))
    assert zero.multiplier.tolist() == [0, 4]


@given(st.data())
def test_digits(data):
    widths = data.draw(st.lists(st.integers(1, 62), min_size=1, max_size=5))
    rows = [[data.draw(st.integers(-(1 << (bits - 1)), (1 << bits) - 1)) for bits in widths] for _ in range(3)]
    fields = list(zip(np.array(rows, np.int64).T, widths, strict=True))
    text = lines([packed(fields), *(digits(*field) for field in fields)]).decode()
    for row, line in zip(rows, text.splitlines(), strict=True):
        whole, *words = (int(word, 16) for word in line.split())
        masked = [integer % (1 << bits) for integer, bits in zip(row, widths, strict=True)]
        assert words == masked
        places = np.cumsum([0, *widths[:-1]]).tolist()
        assert whole == sum(word << place for word, place in zip(masked, places, strict=True))
