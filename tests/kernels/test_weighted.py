# SPDX-License-Identifier: Apache-2.0
"""Convolutions and dense layers against their definition, over shapes, scales and extreme values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.cases import check, dense_cases, windowed_cases
from tests.helpers.layers import ZERO_POINTS, Layer
from tflm_export.c.epilogue import Epilogue, simplify
from tflm_export.c.step import UnsupportedError

pytestmark = native.requires_gcc


@given(windowed_cases(depthwise=False))
def test_conv_2d(case):
    window, layer, image = case
    view = definition.centred(definition.windows(image, window), layer.input_zero)
    rows = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    accumulators = view.reshape(*view.shape[:3], -1) @ rows.T + layer.bias
    check("narrow_conv_2d", (window,), layer, image, accumulators, rows.shape[1])


@given(windowed_cases(depthwise=True))
def test_depthwise_conv_2d(case):
    window, layer, image = case
    view = definition.centred(definition.windows(image, window), layer.input_zero)
    multiplier = window.output_channels // window.input_channels
    view = np.repeat(view.reshape(*view.shape[:3], -1, window.input_channels), multiplier, axis=4)
    accumulators = (view * layer.weights[:, :, 0].T.astype(np.int64)).sum(3) + layer.bias
    scratch = view.shape[3] * window.input_channels
    check("narrow_depthwise_conv_2d", (window,), layer, image, accumulators, scratch, lambda rows: rows.T)


@given(dense_cases())
def test_fully_connected(case):
    layer, rows, accumulators = case
    check("narrow_fully_connected", (*rows.shape, len(layer.weights)), layer, rows, accumulators)


def simple_layer(factors, bits, *, bias=0, weights=None, zero=0) -> Layer:
    weights = np.array([[[1, 2]], [[3, -4]]], np.int8) if weights is None else weights
    return Layer(weights, np.full(len(weights), bias), np.asarray(factors, np.float64), bits, 0, zero)


@pytest.mark.parametrize(
    ("layer", "end"),
    [
        (simple_layer([2.0**-4, 2.0**-7], 1), Epilogue.SHIFT),
        (simple_layer([2.0**-4, 3 * 2.0**-7], 2), Epilogue.MULTIPLY),
        (simple_layer([2.0**-4, 2.0**-6], 8), Epilogue.SHIFT),  # powers of two need no multiplier at any width
        (simple_layer([2.0**-4, 2.0], 1), Epilogue.MULTIPLY),  # a left shift
        (simple_layer([2.0**-4, 1.0], 1), Epilogue.SHIFT),
        (simple_layer([2.0**-26] * 2, 1, bias=1 << 28, zero=-128), Epilogue.WIDE),  # Zy * 2**s leaves 32 bits
        (simple_layer([0.703125 * 2.0**-4] * 2, 1), Epilogue.MULTIPLY),  # 45 / 64, more bits than the model's
        (simple_layer([45875 * 2.0**-36] * 2, 16, bias=1 << 20), Epilogue.WIDE),
        (simple_layer([0.7 * 2.0**-4] * 2, 1), Epilogue.WIDE),  # not narrowed
        (simple_layer([0.7 * 2.0**-4] * 2, 31), Epilogue.WIDE),
    ],
)
def test_which_end_a_layer_needs(layer, end):
    assert layer.folded().epilogue is end


@pytest.mark.parametrize("factor", [0.0, 2.0**-33, 2.0**-20])
def test_channels_whose_output_is_constant_have_no_weights(factor):
    folded = simple_layer([2.0**-4, factor], 1, zero=11).folded()
    assert folded.epilogue is Epilogue.SHIFT
    assert folded.dead.tolist() == [False, True]
    assert (folded.start[1], folded.shift[1]) == (11, 0)


def test_accumulators_beyond_32_bits_are_refused():
    with pytest.raises(UnsupportedError, match=r"accumulator of channel 0 can reach 214748\d+, beyond 32 bits"):
        simple_layer([2.0**-4, 2.0**-4], 1, bias=(1 << 31) - 1).folded()


@given(
    st.integers(1, (1 << 31) - 1),
    st.integers(-40, 70),
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=8),
    ZERO_POINTS,
)
@settings(max_examples=500)
def test_simplified_multipliers_give_the_same_outputs(multiplier, shift, accumulators, zero_point):
    low, high = min(accumulators), max(accumulators)
    channel = simplify(multiplier, shift, low, high, zero_point)
    for accumulator in {*accumulators, 0 if low <= 0 <= high else low}:
        wanted = definition.saturate(
            zero_point + definition.half_up(accumulator * definition.factor(multiplier, shift))
        )
        if channel.constant is not None:
            assert channel.constant == wanted
        else:
            product = definition.half_up(accumulator * definition.factor(channel.multiplier, channel.shift))
            assert definition.saturate(zero_point + product) == wanted
            assert channel.shift >= 0
            assert channel.multiplier <= max(256, multiplier)
