"""The kernels of single cores: their plain C against the definition on the host. Emulated cores run the assembly."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kernels import exact, native
from tests.kernels.test_weighted import check, images, layers, window_shapes
from tests.tflite_builder import TFLiteBuilder
from tflm_export import c_source
from tflm_export.kernels.cortex_m0plus import channel_words
from tflm_export.kernels.cortex_m4 import channel_pairs, depth_pairs

pytestmark = native.requires_gcc


@st.composite
def convolutions(draw):
    inputs, outputs = draw(st.integers(1, 6)), 2 * draw(st.integers(1, 3))
    window = draw(window_shapes(inputs, outputs))
    layer = draw(layers(outputs, window.kernel_height * window.kernel_width, inputs))
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, inputs)
    image = images(draw, shape, layer.input_zero)
    view = exact.centred(exact.windows(image, window), layer.input_zero)
    rows = layer.weights.reshape(outputs, -1).astype(np.int64)
    return window, layer, image, view.reshape(*view.shape[:3], -1) @ rows.T + layer.bias


def padded_depth(layer) -> int:
    return -(-layer.weights[0].size // 4) * 4


@given(convolutions())
@settings(max_examples=100)
def test_conv_2d_dsp(case):
    window, layer, image, accumulators = case
    check("narrow_conv_2d_dsp", (window,), layer, image, accumulators, 9 * padded_depth(layer), depth_pairs)


@given(convolutions())
@settings(max_examples=100)
def test_conv_2d_v6m(case):
    window, layer, image, accumulators = case
    rows = np.abs(layer.weights.reshape(len(layer.weights), -1).astype(int))
    rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    assume((rows.reshape(len(rows), -1, 2).sum(2) <= 255).all())
    check("narrow_conv_2d_v6m", (window,), layer, image, accumulators, 5 * padded_depth(layer), channel_words)


@given(st.data())
def test_depthwise_conv_2d_dsp(data):
    channels = 4 * data.draw(st.integers(1, 2))
    window = data.draw(window_shapes(channels, channels))
    taps = window.kernel_height * window.kernel_width
    layer = data.draw(layers(channels, taps, 1))
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, channels)
    image = images(data.draw, shape, layer.input_zero)
    view = exact.centred(exact.windows(image, window), layer.input_zero).reshape(*_output(window), taps, channels)
    accumulators = (view * layer.weights[:, :, 0].T.astype(np.int64)).sum(3) + layer.bias
    check(
        "narrow_depthwise_conv_2d_dsp", (window,), layer, image, accumulators, taps * channels,
        lambda rows: channel_pairs(rows.T),
    )  # fmt: skip


def _output(window) -> tuple[int, int, int]:
    return window.batches, window.output_height, window.output_width


@given(st.data())
def test_fully_connected(data):
    rows, depth, channels = (
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 70)),
        4 * data.draw(st.integers(1, 3)),
    )
    layer = data.draw(layers(channels, 1, depth))
    image = images(data.draw, (rows, depth), layer.input_zero)
    weights = layer.weights[:, 0].astype(np.int64)
    accumulators = (image.astype(np.int64) - layer.input_zero) @ weights.T + layer.bias
    shape = (rows, depth, channels)
    check("narrow_fully_connected_v6m", shape, layer, image, accumulators, 4 * padded_depth(layer), channel_words)
    if depth % 4 == 0:
        check("narrow_fully_connected_dsp", shape, layer, image, accumulators, None, _quads)


def _quads(rows: np.ndarray) -> np.ndarray:
    channels, depth = rows.shape
    return depth_pairs(rows).reshape(channels // 4, 2, depth // 4, 2).transpose(0, 2, 1, 3)


@pytest.mark.parametrize(
    ("core", "suffix", "expected"),
    [("cortex-m4", "dsp", 4), ("cortex-m0plus", "v6m", 3), ("portable", "dsp", 0)],
)
def test_which_kernels_a_core_gets(core, suffix, expected):
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    y = b.conv(b.depthwise(b.conv(x, 8)), 8, 1)
    y = b.conv(y, 7, name="odd")
    data = b.build(x, b.fully_connected(b.flatten(y), 4))
    program = c_source.lower(data, "model", 1, core=core)
    kernels = [kernel for step in program.steps for kernel in step.kernels]
    assert sum(kernel.endswith(f"_{suffix}.c") for kernel in kernels) == expected
    assert "narrow_conv_2d.c" in kernels  # the odd one
