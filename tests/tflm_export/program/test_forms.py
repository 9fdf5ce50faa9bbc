# SPDX-License-Identifier: Apache-2.0
"""Forms against exact rational arithmetic, with integers at both ends of what they may be."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflm_export.arithmetic import Narrow, Target, Terms
from tflm_export.grid import Grid
from tflm_export.program.form import largest_sum
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Windows, axis_of, transposed_axis_of
from tflm_export.rescale import Rescale

INT8 = np.dtype(np.int8)


def half_up(exact: Fraction) -> int:
    return math.floor(exact + Fraction(1, 2))


def clamped(integer: int, low=-128, high=127) -> int:
    return min(max(integer, low), high)


@given(
    st.tuples(st.floats(2.0**-40, 2.0**40), st.floats(2.0**-40, 2.0**40)),
    st.sampled_from([1, 2, 4, 8, 31]),
    st.tuples(*[st.sampled_from([-128, -3, 0, 127])] * 3),
    st.sampled_from([(1, 1), (1, -1)]),
)
def test_aligned_sum_is_one_exact_rounding(factors, bits, zeros, signs):
    """Factors as far apart as 2**80, where the aligned integers leave 64 bits."""
    a, b, y = (Value(name, INT8, (4,)) for name in "aby")
    arithmetic = Narrow(Grid(bits))
    terms = Terms((a, b), (1.0, 1.0), zeros[:2], signs, np.array(factors))
    form = arithmetic.sum(terms, Target(y, 1.0, zeros[2], (-100, 90)))
    x = np.array([[-128, 127, -128, 5]], np.int8), np.array([[127, -128, -128, 6]], np.int8)
    held = arithmetic.rescale(np.array(factors))
    exact = [Fraction(int(m)) / Fraction(2) ** int(s) for m, s in zip(held.multiplier, held.shift, strict=True)]
    for found, *pair in zip(form.evaluate(*x)[0][0].tolist(), *(v[0].tolist() for v in x), strict=True):
        total = sum(s * f * (p - z) for s, f, p, z in zip(signs, exact, pair, zeros, strict=False))
        assert found == clamped(half_up(total) + zeros[2], -100, 90)


@given(st.floats(2.0**-40, 2.0**40), st.integers(1, 31), st.integers(1, 7), st.sampled_from([-128, 0, 127]))
def test_mean_is_one_exact_rounding(factor, bits, count, zero):
    x, y = Value("x", INT8, (2, count)), Value("y", INT8, (2,))
    arithmetic = Narrow(Grid(bits))
    form = arithmetic.mean(x, (1,), zero, factor, Target(y, 1.0, -7, (-128, 127)))
    rows = np.random.default_rng(count).integers(-128, 128, (1, 2, count)).astype(np.int8)
    rows[0, 0] = -128
    held = arithmetic.rescale(factor)
    exact = Fraction(int(held.multiplier)) / Fraction(2) ** int(held.shift) / count
    expected = [clamped(half_up(exact * (int(row.sum()) - count * zero)) - 7) for row in rows[0].astype(int)]
    assert form.evaluate(rows)[0][0].tolist() == expected


def weighted(weights, windows, shape, y_shape, **fields) -> WeightedSum:
    channels = weights.shape[0] * weights.shape[1]
    given = {
        "bias": np.arange(channels) * 100 - 50,
        "input_zero_point": -9,
        "rescale": Rescale(np.int64(3), np.int64(9)),
    }
    return WeightedSum(
        inputs=(Value("x", INT8, shape),),
        outputs=(Value("y", INT8, y_shape),),
        weights=weights,
        windows=windows,
        zero_point=4,
        clamp=(-128, 127),
        **(given | fields),
    )


def direct(form: WeightedSum, image: np.ndarray, at: tuple[int, int], channel: int) -> int:
    """One output by its definition, element by element."""
    _, per_group, kernel_height, kernel_width, depth = form.weights.shape
    group = channel // per_group
    total = int(form.bias[channel])
    axes = (form.windows.height, form.windows.width)
    for y in range(kernel_height):
        for x in range(kernel_width):
            place = [o * a.stride + k * a.dilation - a.before for o, a, k in zip(at, axes, (y, x), strict=True)]
            if any(p % a.spread or not 0 <= p // a.spread < a.size for p, a in zip(place, axes, strict=True)):
                continue
            row, column = (p // a.spread for p, a in zip(place, axes, strict=True))
            for d in range(depth):
                weight = int(form.weights[group, channel % per_group, y, x, d])
                total += weight * (int(image[row, column, group * depth + d]) - form.input_zero_point)
    return clamped(half_up(Fraction(total * 3, 512)) + form.zero_point)


GROUPS = {"dense": (1, 4, 3), "grouped": (2, 2, 3), "depthwise": (3, 1, 1), "multiplied": (3, 2, 1)}


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("same", [True, False])
def test_weighted_sum_is_its_definition(groups, stride, dilation, same):
    random = np.random.default_rng(0)
    count, per_group, depth = GROUPS[groups]
    weights = random.integers(-127, 128, (count, per_group, 3, 2, depth)).astype(np.int8)
    windows = Windows(axis_of(6, 3, stride, dilation, same), axis_of(5, 2, stride, dilation, same))
    size = (windows.height.output, windows.width.output)
    form = weighted(weights, windows, (2, 6, 5, count * depth), (2, *size, count * per_group))
    x = random.integers(-128, 128, (3, 2, 6, 5, count * depth)).astype(np.int8)
    found = form.evaluate(x)[0]
    for index in np.ndindex(*found.shape):
        run, image, row, column, channel = index
        assert found[index] == direct(form, x[run, image], (row, column), channel), index


TRANSPOSED = [  # kernel, stride, same, size, output
    (3, 2, True, 4, 8),
    (3, 2, False, 4, 9),
    (2, 2, True, 4, 7),
    (3, 1, True, 4, 4),
    (4, 3, False, 3, 10),
    (1, 2, True, 3, 5),
]


@pytest.mark.parametrize(("kernel", "stride", "same", "size", "output"), TRANSPOSED)
def test_transposed_windows_scatter(kernel, stride, same, size, output):
    """Every input element adds its window to the output: the definition of a transposed convolution."""
    random = np.random.default_rng(1)
    weights = random.integers(-127, 128, (1, 2, kernel, kernel, 3)).astype(np.int8)
    axis = transposed_axis_of(size, kernel, stride, output, same)
    form = weighted(weights[:, :, ::-1, ::-1], Windows(axis, axis), (1, size, size, 3), (1, output, output, 2))
    x = random.integers(-128, 128, (1, 1, size, size, 3)).astype(np.int8)
    cut = axis_of(output, kernel, stride, 1, same).before
    sums = np.zeros((output + 2 * kernel + stride, output + 2 * kernel + stride, 2), np.int64)
    for row, column in np.ndindex(size, size):
        patch = np.einsum("oyxi,i->yxo", weights[0].astype(np.int64), x[0, 0, row, column].astype(np.int64) + 9)
        where = (slice(row * stride, row * stride + kernel), slice(column * stride, column * stride + kernel))
        sums[where] += patch
    sums = sums[cut : cut + output, cut : cut + output] + form.bias
    expected = np.clip(((sums * 3 + 256) >> 9) + 4, -128, 127)
    np.testing.assert_array_equal(form.evaluate(x)[0][0, 0], expected)


def test_sums_of_32_bits_wrap_and_those_of_48_do_not():
    weights, windows = (
        np.full((1, 1, 1, 1, 1), 127, np.int8),
        Windows(axis_of(1, 1, 1, 1, False), axis_of(1, 1, 1, 1, False)),
    )
    fields = {"bias": np.array([(1 << 31) - 1]), "input_zero_point": 0, "rescale": Rescale(np.int64(1), np.int64(24))}
    for is_wide, expected in ((False, 4 - 128), (True, 127)):
        form = weighted(weights, windows, (1, 1, 1, 1), (1, 1, 1, 1), is_wide=is_wide, **fields)
        assert form.evaluate(np.full((1, 1, 1, 1, 1), 127, np.int8))[0].item() == expected


@given(st.integers(1, 3), st.sampled_from([1, 2]), st.sampled_from([(-128, 127), (0, 255), (-255, 0)]))
def test_largest_sum_is_reached_and_never_exceeded(elements, summed, limits):
    random = np.random.default_rng(elements)
    rows = random.integers(-127, 128, (4, elements)).astype(np.int8)
    bias = random.integers(-1000, 1000, 4 // summed)
    ends = np.stack(np.meshgrid(*[limits] * (summed * elements), indexing="ij")).reshape(summed * elements, -1)
    products = rows.reshape(4 // summed, -1).astype(np.int64) @ ends + bias[:, None]
    np.testing.assert_array_equal(largest_sum(rows, bias, limits, summed), np.abs(products).max(1))


def test_forms_are_immutable():
    with pytest.raises(AttributeError):
        weighted(np.ones((1, 1, 1, 1, 1), np.int8), None, (1,), (1,)).zero_point = 3
