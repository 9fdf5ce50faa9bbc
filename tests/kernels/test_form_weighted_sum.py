# SPDX-License-Identifier: Apache-2.0
"""The general kernel of sums with constant weights: every type, window, group and rescale."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.held_forms import assert_equal_forms, random_input
from tests.helpers.random_forms import Draw
from tflm_export.c.forms import GENERAL
from tflm_export.c.forms.products import stored_weights
from tflm_export.c.step import UnsupportedError
from tflm_export.program.value import Value
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.program.windows import Axis, Windows, axis_of, points, transposed_axis_of
from tflm_export.rescale import RealRescale, Rescale, WideStockRescale

pytestmark = native.requires_gcc
TYPES = (np.int8, np.uint8, np.int16)


def emit(step):
    return GENERAL[WeightedSum](step)


def random_axis(draw: Draw) -> Axis:
    kernel, stride, dilation, same = draw.size(4), draw.size(3), draw.size(3), draw.flag()
    if draw.random.random() < 0.3:  # a transposed convolution
        size = draw.size(4)
        output = size * stride if same else (size - 1) * stride + kernel
        return transposed_axis_of(size, kernel, stride, output, same)
    size = draw.size(6) + (kernel - 1) * dilation
    axis = axis_of(size, kernel, stride, dilation, same)
    spread = draw.one([1, 1, 2, 3])  # more than one only here: no operator has it with a dilation
    after = axis.after + (axis.output + 4) * stride
    return axis if spread == 1 else Axis(size, kernel, stride, dilation, axis.output + 3, axis.before, after, spread)


def random_windows(draw: Draw) -> Windows:
    return points(draw.size(5)) if draw.random.random() < 0.2 else Windows(random_axis(draw), random_axis(draw))


def random_form(draw: Draw) -> WeightedSum:
    dtype, windows = draw.one(TYPES), random_windows(draw)
    is_wide = dtype is np.int16 and draw.random.random() < 0.8
    groups, inputs = draw.one([(1, draw.size(9)), (draw.size(4), draw.size(3)), (draw.size(5), 1)])
    shape = (groups, draw.size(4), windows.height.kernel, windows.width.kernel, inputs)
    weights = draw.integers(np.int8, shape)
    if dtype is np.uint8 or draw.random.random() < 0.1:
        weights = draw.integers(np.uint8, shape).astype(np.int16) - np.int16(draw.zero_point(np.uint8))
    zero, channels, half = draw.zero_point(dtype), groups * shape[1], 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    reach = float(np.abs(weights.astype(np.int64)).sum((2, 3, 4)).max()) * half
    bias = np.rint(draw.random.uniform(-reach, reach, channels) / 2).astype(np.int64)
    if draw.random.random() < 0.1:  # sums that wrap, or leave 32 bits
        bias = draw.integers(np.int32, channels).astype(np.int64) << (8 if is_wide else 0)
        reach += float(np.abs(bias).max())
    images = draw.size(3)
    return WeightedSum(
        inputs=(draw.value("x", dtype, (images, windows.height.size, windows.width.size, groups * inputs)),),
        outputs=(draw.value("y", dtype, (images, windows.height.output, windows.width.output, channels)),),
        weights=weights,
        bias=bias,
        input_zero_point=zero,
        windows=windows,
        rescale=draw.rescaler(reach, half, draw.one([1, channels]), is_wide),
        zero_point=draw.zero_point(dtype),
        clamp=draw.clamp(dtype),
        is_wide=is_wide,
    )


@pytest.mark.sweep(3)
@pytest.mark.parametrize("seed", range(3))
def test_any_form(seed):
    draw = Draw(seed)
    assert_equal_forms([random_form(draw) for _ in range(40)], emit, seed)


@pytest.mark.slow
def test_products_in_pairs():
    """As where an instruction computes two of them; here in plain C."""
    draw = Draw(7)
    assert_equal_forms([random_form(draw) for _ in range(80)], emit, flags=["-DNARROW_PAIRED_PRODUCTS=1"])


def transposed(size=3, kernel=3, stride=2, channels=2, depth=2, **fields) -> WeightedSum:
    """A transposed convolution with padding VALID, 1 as its factor."""
    output, random = (size - 1) * stride + kernel, np.random.default_rng(0)
    axis = transposed_axis_of(size, kernel, stride, output, same=False)
    given = {
        "weights": random.integers(-3, 4, (1, channels, kernel, kernel, depth)).astype(np.int8),
        "bias": np.arange(channels),
        "rescale": Rescale(np.int64(1), np.int64(0)),
    }
    return WeightedSum(
        inputs=(Value("x", np.dtype(np.int8), (1, size, size, depth)),),
        outputs=(Value("y", np.dtype(np.int8), (1, output, output, channels)),),
        windows=Windows(axis, axis),
        input_zero_point=3,
        zero_point=-5,
        clamp=(-128, 127),
        **(given | fields),
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution_is_what_every_element_spreads(stride):
    """Every input adds its window of products to the output; the form's weights are reversed."""
    form = transposed(stride=stride)
    compiled = CompiledSteps([emit(step_of(form))])
    x = np.random.default_rng(1).integers(-4, 5, (1, 3, 3, 2)).astype(np.int8)
    expected = np.zeros(form.output.shape, np.int64) + form.bias
    kernel = form.weights[0, :, ::-1, ::-1].astype(np.int64)
    for row in range(3):
        for column in range(3):
            spread = np.einsum("cyxi,i->yxc", kernel, x[0, row, column].astype(np.int64) - 3)
            expected[0, row * stride : row * stride + 3, column * stride : column * stride + 3] += spread
    (y,) = compiled.run(0, x)
    np.testing.assert_array_equal(y, np.clip(expected - 5, -128, 127))


def dense(weights, dtype=np.int8, is_wide=False, **fields) -> WeightedSum:
    weights = np.asarray(weights)
    given = {"bias": np.zeros(len(weights), np.int64), "rescale": Rescale(np.int64(1), np.int64(0))} | fields
    return WeightedSum(
        inputs=(Value("x", np.dtype(dtype), (1, weights.shape[1])),),
        outputs=(Value("y", np.dtype(dtype), (1, len(weights))),),
        weights=weights.reshape(1, len(weights), 1, 1, -1),
        windows=points(1),
        input_zero_point=0,
        zero_point=0,
        clamp=tuple(np.iinfo(dtype).min + i for i in (0, (1 << 8 * np.dtype(dtype).itemsize) - 1)),
        is_wide=is_wide,
        **given,
    )


def test_sums_of_32_bits_wrap():
    form = dense(np.array([[127], [-128]], np.int8), bias=np.array([2**31 - 1, -(2**31)]))
    compiled = assert_equal_forms([form], emit)
    (y,) = compiled.run(0, np.full((1, 1), 1, np.int8))
    np.testing.assert_array_equal(y, [[-128, 127]])


def test_sums_of_64_bits_do_not():
    """int16 inputs that leave 32 bits, with an exact quotient."""
    weights = np.full((1, 1 << 10), -128, np.int8)
    form = dense(
        weights, np.int16, True, bias=np.array([3 << 40]), rescale=Rescale(np.int64(1), np.int64(28))
    )  # fmt: skip
    compiled = CompiledSteps([emit(step_of(form))])
    x = np.full((1, 1 << 10), -32768, np.int16)
    (y,) = compiled.run(0, x)
    assert y[0, 0] == ((1 << 10) * 128 * 32768 + (3 << 40) + (1 << 27)) >> 28


def test_the_stock_rescale_of_64_bits_keeps_the_low_32():
    """Half of 2**34 + 10 and of 2**34 - 10: the runtimes cut the quotient to 32 bits before they saturate."""
    half = WideStockRescale(np.array([1 << 30]), np.array([31]))
    form = dense([[1], [1]], np.int16, True, bias=np.array([(1 << 34) + 10, (1 << 34) - 10]), rescale=half)
    (y,) = CompiledSteps([emit(step_of(form))]).run(0, np.zeros((1, 1), np.int16))
    np.testing.assert_array_equal(y, [[5, -5]])


@pytest.mark.parametrize(("zero", "low", "high"), [(0, 0, 255), (255, 0, 255), (128, 0, 255), (200, 100, 230)])
def test_weights_of_8_bits_stay_8_bits(zero, low, high):
    """Centred weights of uint8 files need nine bits; with a zero point of their own they need eight."""
    centred = np.arange(low, high + 1, dtype=np.int16) - np.int16(zero)
    stored, own = stored_weights(centred)
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(stored.astype(int) - own, centred)


def test_windows_between_all_elements_have_the_bias_alone():
    form = transposed(size=2, kernel=1, stride=3)
    compiled = assert_equal_forms([form, transposed(size=2, kernel=5, stride=4)], emit)
    (y,) = compiled.run(0, np.full((1, 2, 2, 2), 127, np.int8))
    np.testing.assert_array_equal(y[0, 1:3, 1:3], np.broadcast_to(form.bias - 5, (2, 2, 2)))


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (dense([[1]], rescale=RealRescale(np.array([0.5]))), "RealRescale has no kernel"),
        (dense([[1]], np.int16, True, bias=np.array([1 << 62]), rescale=Rescale(np.int64(9), np.int64(0))), "64-bit"),
        (
            dense(
                [[1]], np.int16, True, bias=np.array([1 << 60]),
                rescale=WideStockRescale(np.array([1 << 30]), np.array([31])),
            ),
            "leaves 64 bits",
        ),
    ],
)  # fmt: skip
def test_numbers_beyond_64_bits_are_refused(form, reason):
    with pytest.raises(UnsupportedError, match=reason):
        emit(step_of(form))


def test_random_inputs_reach_both_ends():
    value = Value("x", np.dtype(np.int16), (1000,))
    x = np.concatenate([random_input(np.random.default_rng(i), value) for i in range(8)])
    assert {x.min(), x.max()} == {-32768, 32767}
