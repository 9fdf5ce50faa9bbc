# SPDX-License-Identifier: Apache-2.0
"""Pools, MEAN, SOFTMAX and data movement against their definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import emitted
from tests.helpers.cases import window_shapes
from tests.helpers.layers import INT8, INT32_MAX, SCALES, ZERO_POINTS, fits, images
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

pytestmark = native.requires_gcc


@st.composite
def pools(draw):
    channels = draw(st.integers(1, 5))
    window = draw(window_shapes(channels, channels, pool=True))
    return window, images(draw, (window.batches, window.input_height, window.input_width, channels), 0)


@pytest.mark.slow
@given(pools())
def test_pools(case):
    assert_pools(*case)


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (1, 3), (3, 2), (5, 7), (10, 18), (1, 181), (13, 14), (17, 15)])
@pytest.mark.parametrize("channels", [4, 8])
def test_pools_four_channels_at_a_time(sides, channels):
    """Sums around every half, and at both ends, of as many elements as 16 bits hold, and of more."""
    height, width = sides
    window = native.Window(*(1, height, 4 * width, channels, 1, 4, channels, *sides, 1, width, 1, 1, 0, 0), 0)
    random = np.random.default_rng(0)
    for low, high in ((-128, 128), (-128, -127), (127, 128), (-3, 3), (-2, 0), (0, 2)):
        assert_pools(window, random.integers(low, high, (1, height, 4 * width, channels)).astype(np.int8))


def test_means_are_exact():
    """Of every sum that any number of bytes can have, by the arithmetic of narrow_average_pool_2d.c."""
    for count in range(1, 182):
        total = np.arange(255 * count + 1)
        reciprocal, half = -(-(1 << 23) // count), count // 2
        product = (total + np.where(total < 128 * count, count - 1 - half, half)) * reciprocal
        assert product.max() < 1 << 32
        centred = total - 128 * count
        wanted = np.sign(centred) * ((2 * np.abs(centred) + count) // (2 * count))
        np.testing.assert_array_equal((product >> 23) - 128, wanted)


def assert_pools(window, image):
    """Both kinds, against what they are."""
    view = definition.windows(image, window)
    shape = (*view.shape[:3], view.shape[5])
    average, largest = np.empty(shape, np.int8), np.empty(shape, np.int8)
    for index in np.ndindex(shape):
        inside = [v for v in view[(*index[:3], ..., index[3])].reshape(-1) if v is not None]
        average[index] = definition.rounded_away(sum(inside), len(inside))
        largest[index] = max(inside)
    for name, wanted in (("narrow_average_pool_2d", average), ("narrow_max_pool_2d", largest)):
        output = native.call(name, window, image, output_size=wanted.size)
        np.testing.assert_array_equal(output.reshape(shape), wanted, name)


@given(
    SCALES, SCALES, INT8, INT8, st.sampled_from([1, 4, 8, 16, 31]),
    st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4)), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_mean(x_scale, y_scale, zx, zy, bits, shape, seed):
    """Through the exporter's own numbers: the call it writes is parsed back."""
    builder = TFLiteBuilder()
    x = builder.input([2, *shape], scale=x_scale, zero_point=zx)
    (operator,) = parse(builder.build(x, builder.mean(x, scale=y_scale, zero_point=zy))).operators
    (call,) = emitted(operator, bits).statements
    function, _, rest = call.rstrip(");").partition("(")
    numbers = [int(n.removesuffix("LL")) for n in rest.split(", ")[:6]]
    if function.endswith("wide"):
        numbers[3:] = map(native.ctypes.c_int64, numbers[3:])
    image = np.random.default_rng(seed).choice([-128, 0, 3, 127], (2, *shape)).astype(np.int8)
    output = native.call(function, *numbers, image, output_size=2 * shape[2])
    count = shape[0] * shape[1]
    factor = definition.factor(*definition.held(float(np.float32(x_scale)) / float(np.float32(y_scale)), bits)) / count
    sums = image.astype(np.int64).sum((1, 2)) - zx * count
    wanted = [definition.saturate(zy + definition.half_up(int(v) * factor)) for v in sums.reshape(-1)]
    assert output.tolist() == wanted


@st.composite
def means(draw):
    """[outer, count, inner], zero points of input and output, and a multiplier and a shift in 31 bits."""
    count = draw(st.one_of(st.integers(1, 30), st.integers(1, 400)))
    shape = (draw(st.integers(1, 3)), count, draw(st.integers(1, 6)))
    zeros = draw(ZERO_POINTS), draw(ZERO_POINTS)
    return images(draw, shape, zeros[0]), zeros, draw(st.integers(0, 30).flatmap(lambda b: st.integers(0, 1 << b)))


def mean_call(function: str, image, *numbers) -> np.ndarray:
    outer, _, inner = image.shape
    return native.call(function, *image.shape, *numbers, image, output_size=outer * inner).reshape(outer, inner)


def check_mean(case, shift: int) -> bool:
    """Sum and division are exact, halves are rounded up; whether 32 bits were enough, so that both kernels ran."""
    image, (zx, zy), multiplier = case
    count = image.shape[1]
    factor, divisor = 2 * multiplier, 2 * count << shift
    start = divisor * (zy + 128) + divisor // 2 - zx * count * factor
    sums = image.astype(object).sum(1) - zx * count
    whole = count << shift
    wanted = np.clip((2 * sums * multiplier + whole) // (2 * whole) + zy, -128, 127)
    wide = map(native.ctypes.c_int64, (factor, start, divisor))
    np.testing.assert_array_equal(mean_call("narrow_mean_wide", image, *wide), wanted)
    reach = 128 * count * factor
    narrow = fits(divisor, reach, start - reach, start + reach)
    if narrow:
        np.testing.assert_array_equal(mean_call("narrow_mean", image, factor, start, divisor), wanted)
    return narrow


@given(means(), st.integers(0, 38))
def test_mean_over_all_that_fits(case, shift):
    check_mean(case, shift)


@given(means(), st.integers(0, 20))
def test_mean_in_32_bits(case, shift):
    """With the largest multiplier that surely fits, or a smaller one."""
    image, zeros, multiplier = case
    count = image.shape[1]
    shift = min(shift, ((1 << 20) // count).bit_length() - 1)
    most = (INT32_MAX - 257 * (2 * count << shift)) // (512 * count)
    assert check_mean((image, zeros, min(multiplier, most)), shift)


@given(means(), st.one_of(st.integers(1 << 30, INT32_MAX), st.sampled_from([1 << 30, INT32_MAX])), st.integers(0, 31))
def test_mean_stock(case, multiplier, shift):
    image, (zx, zy), _ = case
    given_ = native.Rescale(zy, multiplier=[multiplier], shift=[shift])
    sums = image.astype(np.int64).sum(1) - zx * image.shape[1]
    wanted = definition.outputs(definition.stock_rescale, sums, multiplier, shift, zy)
    np.testing.assert_array_equal(mean_call("narrow_mean_stock", image, zx, given_), wanted)


@given(
    st.floats(1e-5, 2.0), st.sampled_from([0.5, 1.0, 3.0]), st.integers(1, 40),
    st.sampled_from(["random", "equal", "ends"]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_softmax(scale, beta, depth, kind, seed):
    """Equal to the simulator, which is held equal to the runtimes."""
    builder = TFLiteBuilder()
    x = builder.input([3, depth], scale=scale)
    y = builder.softmax(x)
    builder.graph.operators[0].builtinOptions.beta = beta
    model = parse(builder.build(x, y))
    (operator,) = model.operators
    step = emitted(operator, 1)
    table = step.constants["exponentials"]
    random = np.random.default_rng(seed)
    rows = random.integers(-128, 128, (3, depth)).astype(np.int8)
    rows = {"random": rows, "equal": np.full_like(rows, rows[0, 0]), "ends": np.where(rows > 0, 127, -128)}[kind]
    rows = np.ascontiguousarray(rows, np.int8)
    output = native.call("narrow_softmax", 3, depth, len(table), table, rows, output_size=rows.size)
    np.testing.assert_array_equal(output.reshape(rows.shape), simulate(model, rows, "tflm").outputs[0])


@given(
    st.integers(1, 3), st.one_of(st.integers(1, 40), st.sampled_from([1, 4095])), st.integers(1, 256),
    st.floats(0.001, 3), st.data(),
)  # fmt: skip
def test_softmax_is_near_the_exact_shares(rows, depth, length, decay, data):
    """As near as fixed point can be: the sum keeps 2**-19 of each exponential, so it is off by 2**-20 times the depth;
    the reciprocal and the product are good to 2**-28."""
    table = np.minimum(np.round(np.exp(-decay * np.arange(length)) * 2**31), INT32_MAX).astype(np.int32)
    image = images(data.draw, (rows, depth), 0)
    output = native.call("narrow_softmax", rows, depth, length, table, image, output_size=image.size)
    for row, got in zip(image.astype(int), output.reshape(image.shape), strict=True):
        exponentials = np.pad(table.astype(object), (0, 256 - length))[row.max() - row]
        total = int(exponentials.sum())
        allowed = Fraction(1, 2) + 256 * (Fraction(depth << 11, total) + Fraction(1, 1 << 28))
        for exponential, y in set(zip(exponentials, got.tolist(), strict=True)):
            assert abs(y - min(Fraction(256 * int(exponential), total) - 128, 127)) <= allowed


@pytest.mark.parametrize("depth", [1, 4095])
def test_softmax_of_equal_inputs(depth):
    table = np.array([INT32_MAX], np.int32)
    output = native.call("narrow_softmax", 1, depth, 1, table, np.zeros(depth, np.int8), output_size=depth)
    assert set(output.tolist()) == {127 if depth == 1 else -128}


@given(
    st.tuples(*[st.integers(1, 4)] * 4), st.tuples(*[st.integers(0, 2)] * 4), st.tuples(*[st.integers(0, 2)] * 4), INT8
)
def test_pad(shape, before, after, value):
    image = np.arange(np.prod(shape)).astype(np.int8).reshape(shape)
    wanted = np.pad(image, list(zip(before, after, strict=True)), constant_values=value)
    sides = [np.array(side, np.int32) for side in (shape, before, after)]
    output = native.call("narrow_pad", *sides, native.ctypes.c_int8(value), image, output_size=wanted.size)
    np.testing.assert_array_equal(output.reshape(wanted.shape), wanted)


@given(st.integers(0, 6), st.integers(1, 9), st.integers(0, 5))
def test_copy_rows(count, size, gap):
    """What stands between the rows is not the kernel's, and the output ends with the last row."""
    rows = np.arange(count * size, dtype=np.int8)
    before = np.arange(-1, -1 - count * (size + gap), -1).astype(np.int8)
    wanted = before.reshape(count, size + gap).copy()
    wanted[:, :size] = rows.reshape(count, size)
    ends = max(0, count * (size + gap) - gap)
    output = native.call(
        "narrow_copy_rows", count, size, size + gap, rows, output_size=ends, initial=before[:ends]
    )  # fmt: skip
    np.testing.assert_array_equal(output, wanted.reshape(-1)[:ends])
