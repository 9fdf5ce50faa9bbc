# SPDX-License-Identifier: Apache-2.0
"""Whole calls of kernels with weights: windows, layers and images, and the check that holds a kernel against them."""

import numpy as np
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.layers import any_layers, images, layers


def check(function: str, arguments: tuple, layer, image, accumulators, scratch=None, arrange=lambda rows: rows):
    """Holds every end that can compute a layer against the definition.

    Args:
      function: the kernel's name without its end.
      arguments: what comes before the rescale.
      layer: a Layer or AnyLayer.
      image: its input.
      accumulators: integers [..., channels] with bias and offset.
      scratch: bytes of working memory, None where the kernel has none.
      arrange: from weights [channels, elements] to those of the kernel.
    """
    for case in layer.cases(accumulators):
        output = native.call(
            f"{function}_{case.epilogue.value}", *arguments, case.rescale, arrange(case.weights), image,
            output_size=case.expected.size, scratch_size=scratch,
        )  # fmt: skip
        np.testing.assert_array_equal(output.reshape(case.expected.shape), case.expected, case.epilogue.value)


def _layer(draw, *shape):
    return draw(st.one_of(layers(*shape), any_layers(*shape)))


@st.composite
def _axes(draw, pool: bool, usual: bool):
    """Sizes of input and output, kernel, stride, dilation, and what the first window covers before the image.

    With SAME, VALID or any borders, windows that lie wholly outside among them, which pools are not given. usual: of
    three taps.
    """
    kernel, stride = 3 if usual else draw(st.integers(1, 4)), draw(st.integers(1, 3))
    dilation = 1 if pool or usual else draw(st.integers(1, 3))
    reach = (kernel - 1) * dilation + 1
    kind = draw(st.sampled_from(["same", "valid", "border", "border" if pool else "outside"]))
    if kind in ("same", "valid"):
        size = draw(st.integers(1 if kind == "same" else reach, 10))
        output, before = definition.output_size(size, kernel, stride, dilation, kind == "same")
        return size, output, kernel, stride, dilation, before
    most = reach - 1 if kind == "border" else 2 * (reach - 1)
    before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
    size = draw(st.integers(max(1, reach - before - after), 10))
    return size, (before + size + after - reach) // stride + 1, kernel, stride, dilation, before


@st.composite
def window_shapes(draw, channels: int, outputs: int, pool: bool = False) -> native.Window:
    usual = draw(st.sampled_from([False, False, True]))
    axes = zip(draw(_axes(pool, usual)), draw(_axes(pool, usual)), strict=True)
    size, output, kernel, stride, dilation, before = axes
    return native.Window(
        draw(st.integers(1, 2)), *size, channels, *output, outputs, *kernel, *stride, *dilation, *before, 0
    )  # fmt: skip


@st.composite
def windowed_cases(draw, depthwise: bool):
    """Window, layer and image."""
    inputs = draw(st.integers(1, 6 if depthwise else 9))
    outputs = inputs * draw(st.integers(1, 3)) if depthwise else draw(st.integers(1, 5))
    window = draw(window_shapes(inputs, outputs))
    taps = window.kernel_height * window.kernel_width
    layer = _layer(draw, outputs, taps, 1 if depthwise else inputs)
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, inputs)
    return window, layer, images(draw, shape, layer.input_zero)


@st.composite
def depthwise_cases_of_fours(draw):
    """Window, layer, image and accumulators of a depthwise convolution whose channels come in fours."""
    channels = 4 * draw(st.integers(1, 3))
    window = draw(window_shapes(channels, channels))
    taps = window.kernel_height * window.kernel_width
    layer = _layer(draw, channels, taps, 1)
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, channels)
    image = images(draw, shape, layer.input_zero)
    view = definition.centred(definition.windows(image, window), layer.input_zero)
    view = view.reshape(*view.shape[:3], taps, channels)
    return window, layer, image, (view * layer.weights[:, :, 0].T.astype(np.int64)).sum(3) + layer.bias


@st.composite
def dense_cases(draw, depths: int = 1, channels: int = 1):
    """Layer, rows and accumulators of a dense layer; its depth and channels are multiples of the arguments."""
    depth = depths * draw(st.integers(1, 80 // depths))
    layer = _layer(draw, channels * draw(st.integers(1, 7 if channels == 1 else 12 // channels)), 1, depth)
    rows = images(draw, (draw(st.integers(1, 4)), depth), layer.input_zero)
    return layer, rows, (rows.astype(np.int64) - layer.input_zero) @ layer.weights[:, 0].T.astype(np.int64) + layer.bias
