# SPDX-License-Identifier: Apache-2.0
"""What the TFLM registrations recover and fold in Prepare, without TFLM: their headers against rescale and kernels."""

import ctypes
import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.layers import ZERO_POINTS, Layer, images, layers
from tflm_export import kernels, rescale
from tflm_export.c.epilogue import Epilogue
from tflm_export.c.step import UnsupportedError

pytestmark = [native.requires_gcc, native.requires_gpp]

ENDS = (Epilogue.SHIFT, Epilogue.MULTIPLY, Epilogue.WIDE)
_FOLDER = kernels.FOLDER / "tflm"
_FUNCTIONS = b"""
#include "narrow_terms.h"

extern "C" {
int recover(double factor, int32_t* found) {
  narrow::Factor recovered = {-1, -1};
  const bool narrow = narrow::Recover(factor, &recovered);
  found[0] = recovered.multiplier;
  found[1] = recovered.shift;
  return narrow;
}

int fold(double input_scale, double output_scale, const float* weight_scales, int scales, int input_zero,
         int output_zero, const int8_t* weights, int channels, int elements, int is_depthwise, int is_centred,
         const int32_t* bias, int32_t* start, int32_t* multiplier, int32_t* fold, int8_t* shift) {
  const narrow::Layer layer = {input_scale, output_scale, weight_scales, scales, input_zero, output_zero, weights,
                               channels, elements, is_depthwise ? 1 : elements, is_depthwise ? channels : 1, bias,
                               is_centred != 0};
  narrow::End end;
  if (!layer.ChooseEnd(&end)) return -1;
  layer.Write(end, start, multiplier, fold, shift);
  return static_cast<int>(end);
}

int fold_add(double a, double b, int sign, int zero_a, int zero_b, int zero_output, int64_t* found) {
  narrow::Addition sum;
  if (!sum.Fold({a, 1, zero_a}, {b, sign, zero_b}, zero_output)) return -1;
  found[0] = sum.factor_a;
  found[1] = sum.factor_b;
  found[2] = sum.start;
  found[3] = sum.shift;
  return sum.is_wide;
}

int fold_multiply(double factor, int zero_a, int zero_b, int zero_output, int32_t* start, int32_t* multiplier,
                  int32_t* fold, int8_t* shift) {
  narrow::Multiplication product;
  if (!product.Fold(factor, zero_a, zero_b, zero_output)) return -1;
  *start = product.constants.start;
  *multiplier = product.constants.multiplier;
  *fold = product.constants.fold;
  *shift = product.constants.shift;
  return static_cast<int>(product.end);
}

int fold_average(double factor, int count, int zero_input, int zero_output, int64_t* found) {
  narrow::Average average;
  if (!average.Fold(factor, count, zero_input, zero_output)) return -1;
  found[0] = average.factor;
  found[1] = average.start;
  found[2] = average.divisor;
  return average.is_wide;
}
}
"""


@functools.cache
def headers() -> ctypes.CDLL:
    """The headers behind C functions."""
    names = ("narrow_recovery.h", "narrow_folding.h", "narrow_terms.h")
    files = {"functions.cc": _FUNCTIONS} | {name: (_FOLDER / name).read_bytes() for name in names}
    library = native.library(files | kernels.sources(["narrow_kernels.h"]))
    library.recover.argtypes = [ctypes.c_double, ctypes.c_void_p]
    library.fold.argtypes = [ctypes.c_double] * 2 + [ctypes.c_void_p] + [ctypes.c_int] * 3 + [ctypes.c_void_p] + (
        [ctypes.c_int] * 4 + [ctypes.c_void_p] * 5
    )  # fmt: skip
    library.fold_add.argtypes = [ctypes.c_double] * 2 + [ctypes.c_int] * 4 + [ctypes.c_void_p]
    library.fold_multiply.argtypes = [ctypes.c_double] + [ctypes.c_int] * 3 + [ctypes.c_void_p] * 4
    library.fold_average.argtypes = [ctypes.c_double] + [ctypes.c_int] * 3 + [ctypes.c_void_p]
    return library


@st.composite
def near_the_grid(draw) -> float:
    """Factors on a grid of 1 to 18 bits, or off it by about the tolerance."""
    bits = draw(st.integers(1, 18))
    factor = draw(st.integers(1 << (bits - 1), 1 << bits)) * 2.0 ** draw(st.integers(-60, 20))
    return factor * (1 + draw(st.sampled_from([0, 0.5, 0.999, 1, 1.001, 1.5, -0.5, -0.999, -1, -1.001])) * 2.0**-21)


@given(near_the_grid() | st.floats() | st.floats(2.0**-34, 2.0**-30) | st.floats(width=32))
@example(0.0)
@example(2.0**-32)
@example(2.0**-32 * (1 - 2.0**-40))
@example(2.0**-32 * (1 - 2.0**-22))
@example(5e-324)
@example(1.7976931348623157e308)
@example(float("nan"))
def test_recovers_what_rescale_recovers(factor):
    found = np.zeros(2, np.int32)
    is_narrow = headers().recover(factor, native.pointer(found))
    if not 0 <= factor < np.inf:
        assert not is_narrow
        return
    # What TFLite flushes to 0 has no multiplier, on whichever grid it is.
    bits = int(rescale.significant_bits(factor)) if rescale.quantize_multiplier(factor).multiplier else 0
    assert is_narrow == (bits <= rescale.READABLE_BITS)
    if is_narrow:
        expected = rescale.recover(factor, max(bits, 1))
        assert found.tolist() == [expected.multiplier, expected.shift]


@st.composite
def narrow_layers(draw):
    """A layer whose factors come through float32 scales, and the scales of input, output and weights."""
    channels, elements = draw(st.integers(1, 5)), draw(st.integers(1, 70))
    layer = draw(layers(channels, 1, elements))
    bits = min(layer.bits, rescale.READABLE_BITS)
    input_scale, output_scale = (draw(st.floats(2.0**-12, 4, width=32, exclude_min=True)) for _ in range(2))
    weight_scales = (rescale.recover(layer.factors, bits).value * output_scale / input_scale).astype(np.float32)
    if draw(st.booleans()):
        weight_scales = weight_scales[:1]
    assume((weight_scales > np.finfo(np.float32).tiny).all() or not weight_scales.any())
    factors = rescale.effective_scale(input_scale, weight_scales, output_scale)
    factors = np.broadcast_to(factors, channels)
    return dataclasses.replace(layer, factors=factors, bits=bits), input_scale, output_scale, weight_scales


def fold(
    layer, input_scale, output_scale, weight_scales, is_depthwise=False, is_centred=False
) -> tuple[int, dict[str, np.ndarray]]:
    """The index of the end in ENDS, -1 for none, and the arrays of a narrow_rescale."""
    rows = layer.weights.reshape(len(layer.weights), -1)
    weights = np.ascontiguousarray(rows.T if is_depthwise else rows)
    dtypes = {"start": np.int32, "multiplier": np.int32, "fold": np.int32, "shift": np.int8}
    arrays = {name: np.full(len(rows), 77, dtype) for name, dtype in dtypes.items()}
    bias = layer.bias.astype(np.int32)
    end = headers().fold(
        input_scale, output_scale, native.pointer(weight_scales), weight_scales.size, layer.input_zero,
        layer.output_zero, native.pointer(weights), *rows.shape, is_depthwise, is_centred, native.pointer(bias),
        *map(native.pointer, arrays.values()),
    )  # fmt: skip
    return end, arrays


@given(narrow_layers(), st.data())
def test_a_folded_layer_computes_its_definition(case, data):
    layer, *scales = case
    end, arrays = fold(layer, *scales)
    try:
        folded = layer.folded()
    except UnsupportedError:
        assert end == -1
        return
    assert end >= 0
    if not folded.dead.any():
        assert ENDS[end] is folded.epilogue
    transposed_end, transposed = fold(layer, *scales, is_depthwise=True)
    assert transposed_end == end
    assert all((transposed[name] == values).all() for name, values in arrays.items())
    rows = layer.weights[:, 0].astype(np.int64)
    image = images(data.draw, (3, rows.shape[1]), layer.input_zero)
    struct = native.Rescale(layer.output_zero, **arrays)
    outputs = native.call(
        f"narrow_fully_connected_{ENDS[end].value}", *image.shape, len(rows), struct, layer.weights, image,
        output_size=3 * len(rows),
    )  # fmt: skip
    accumulators = (image.astype(np.int64) - layer.input_zero) @ rows.T + layer.bias
    assert (outputs.reshape(3, -1) == layer.expected(accumulators)).all()


@given(narrow_layers(), st.data())
def test_a_layer_of_centred_inputs_computes_its_definition(case, data):
    """For kernels that take the zero point from inputs first; some of their windows lack elements."""
    layer, *scales = case
    end, arrays = fold(layer, *scales, is_centred=True)
    if end < 0:
        assert fold(layer, *scales)[0] < 0  # raw inputs reach no less far
        return
    rows = layer.weights[:, 0].astype(np.int64)
    image = images(data.draw, (3, rows.shape[1]), layer.input_zero).astype(np.int64) - layer.input_zero
    image[:, data.draw(st.integers(0, rows.shape[1])) :] = 0
    start, multiplier, added, shift = (values.astype(np.int64) for values in arrays.values())
    sums = start + image @ rows.T
    if ENDS[end] is Epilogue.WIDE:
        outputs = ((sums * multiplier + ((1 << shift) >> 1)) >> shift) + layer.output_zero
    else:
        if ENDS[end] is Epilogue.MULTIPLY:
            sums = sums * multiplier + added
        outputs = sums >> shift
    assert (np.abs(sums) < 1 << 31).all()
    assert (np.clip(outputs, -128, 127) == layer.expected(image @ rows.T + layer.bias)).all()


@given(narrow_layers(), st.data())
def test_one_factor_off_the_grid_makes_a_layer_stock(case, data):
    layer, input_scale, output_scale, weight_scales = case
    weight_scales = weight_scales.copy()
    channel = data.draw(st.integers(0, weight_scales.size - 1))
    weight_scales[channel] *= np.float32(1 + np.pi * 1e-4)
    factor = rescale.effective_scale(input_scale, weight_scales[channel], output_scale)
    assume(rescale.significant_bits(factor) > rescale.READABLE_BITS)
    assert fold(layer, input_scale, output_scale, weight_scales)[0] == -1


def recovered(real: list[float]) -> list[rescale.Rescale] | None:
    """Where factors lie on grids of up to 16 bits; None if one of them does on none."""
    bits = np.where(rescale.quantize_multiplier(real).multiplier == 0, 0, rescale.significant_bits(real))
    if (bits > rescale.READABLE_BITS).any():
        return None
    return [rescale.recover(f, max(1, int(k))) for f, k in zip(real, bits, strict=True)]


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of int8, with all pairs of extremes."""
    a, b = np.random.default_rng(0).integers(-128, 128, (2, 60)).astype(np.int8)
    a[:4], b[:4] = [-128, -128, 127, 127], [-128, 127, -128, 127]
    return a, b


@given(
    st.lists(near_the_grid(), min_size=2, max_size=2), st.sampled_from([1, -1]), ZERO_POINTS, ZERO_POINTS, ZERO_POINTS
)
@example([2.0**-30, 2.0**-2], 1, 127, -128, 5)
@example([2.0**-30, 2.0**-2], -1, 127, -128, 5)
@example([1.0, 2.0**10], 1, 127, -128, -128)
@example([2.0**10, 1.0], -1, -128, 127, 127)
@example([0.0, 0.0], 1, 3, 3, 3)
def test_a_folded_addition_or_subtraction_computes_its_definition(real, sign, zero_a, zero_b, zero_output):
    found = np.zeros(4, np.int64)
    is_wide = headers().fold_add(*real, sign, zero_a, zero_b, zero_output, native.pointer(found))
    grid = recovered(real)
    if grid is None:
        assert is_wide == -1
        return
    shifts = [int(r.shift) for r in grid]
    if is_wide == -1:
        assert max(0, *shifts) - min(shifts) > 40 or max(shifts) > 48
        return
    a, b = pairs()
    constants = [(ctypes.c_int64 if is_wide else ctypes.c_int32)(value) for value in found[:3].tolist()]
    name = "narrow_add_wide" if is_wide else "narrow_add"
    outputs = native.call(name, 1, a.size, *constants, int(found[3]), a, b, output_size=a.size)
    factors = [definition.factor(r.multiplier, r.shift) for r in grid]
    for x, z, y in zip(a.tolist(), b.tolist(), outputs.tolist(), strict=True):
        total = (x - zero_a) * factors[0] + sign * (z - zero_b) * factors[1]
        assert y == definition.saturate(zero_output + definition.half_up(total))


@given(near_the_grid(), ZERO_POINTS, ZERO_POINTS, ZERO_POINTS)
@example(0.0, 3, 3, 3)
@example(2.0**-31, -128, 127, -128)
@example(2.0**20, -128, 127, 127)
@example(40000 * 2.0**-30, -128, 127, 0)
@example(2.0**-14, -128, 127, 0)
def test_a_folded_multiplication_computes_its_definition(real, zero_a, zero_b, zero_output):
    constants = [np.full(1, 77, np.int32) for _ in range(3)] + [np.full(1, 77, np.int8)]
    end = headers().fold_multiply(real, zero_a, zero_b, zero_output, *map(native.pointer, constants))
    grid = recovered([real])
    if grid is None:
        assert end == -1
        return
    a, b = pairs()
    struct = native.Rescale(zero_output, *constants)
    zeros = np.array([zero_a, zero_b], np.int32)
    outputs = native.call(f"narrow_mul_{ENDS[end].value}", 1, a.size, zeros, struct, a, b, output_size=a.size)
    factor = definition.factor(grid[0].multiplier, grid[0].shift)
    for x, z, y in zip(a.tolist(), b.tolist(), outputs.tolist(), strict=True):
        product = (x - zero_a) * (z - zero_b) * factor
        assert y == definition.saturate(zero_output + definition.half_up(product))


@given(near_the_grid(), st.integers(1, 40) | st.integers(1, 1 << 23), ZERO_POINTS, ZERO_POINTS)
@example(0.0, 49, 3, 3)
@example(2.0**-20, 1 << 23, 127, -128)
@example(65535 / 256, 7, -128, 127)
def test_a_folded_average_computes_its_definition(real, count, zero_input, zero_output):
    found = np.zeros(3, np.int64)
    is_wide = headers().fold_average(real, count, zero_input, zero_output, native.pointer(found))
    grid = recovered([real])
    if grid is None:
        assert is_wide == -1
        return
    shift, multiplier = int(grid[0].shift), int(grid[0].multiplier)
    if is_wide == -1:
        assert shift < -8 or shift > 48 or count << shift >= 1 << 52
        return
    few = min(count, 50)  # columns are computed whole; sums of more elements, from their ends
    x = np.random.default_rng(0).integers(-128, 128, (few, 6)).astype(np.int8)
    x[:, :2] = [-128, 127]
    constants = [(ctypes.c_int64 if is_wide else ctypes.c_int32)(value) for value in found.tolist()]
    factor, start, divisor = found.tolist()
    assert 128 * count * abs(factor) + abs(start) < 1 << (63 if is_wide else 31)
    if count == few:
        name = "narrow_mean_wide" if is_wide else "narrow_mean"
        outputs = native.call(name, 1, count, 6, *constants, x, output_size=6)
    else:
        outputs = [definition.saturate((int(c) * factor + start) // divisor - 128) for c in (-128 * count, 127 * count)]
        x = np.repeat(x[:1, :2].astype(object), 1, 0) * count
    for column, y in zip(x.T.tolist(), np.ravel(outputs).tolist(), strict=True):
        mean = definition.factor(multiplier, shift) * (sum(column) - count * zero_input) / count
        assert y == definition.saturate(zero_output + definition.half_up(mean))


def test_the_constants_are_those_of_rescale():
    text = (_FOLDER / "narrow_recovery.h").read_text()
    assert f"kReadableBits = {rescale.READABLE_BITS};" in text
    assert f"kToleranceBits = {-int(np.log2(rescale.FLOAT32_TOLERANCE))};" in text


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_extreme_accumulators_fall_back(is_depthwise):
    """A bias beside the end of int32: the sum over raw inputs would wrap."""
    weights = np.full((2, 1, 3), 127, np.int8)
    layer = Layer(weights, np.array([0, (1 << 31) - 100]), np.ones(2) / 4, 1, 0, 0)
    scales = (0.5, 1.0, np.full(2, 0.5, np.float32))
    assert fold(layer, *scales, is_depthwise)[0] == -1
    assert fold(dataclasses.replace(layer, bias=np.zeros(2, np.int64)), *scales, is_depthwise)[0] >= 0
