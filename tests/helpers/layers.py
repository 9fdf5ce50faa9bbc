"""Layers with weights for the kernels: strategies over shapes, scales and extreme values, and the check of one."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import Epilogue, FoldedRescale, Sums, UnsupportedError, fold
from tflm_export import rescale

SCALES = st.one_of(st.floats(1e-4, 10.0), st.builds(np.ldexp, st.integers(1, 15), st.integers(-9, 0)))
ZERO_POINTS = st.sampled_from([-128, -127, -3, 0, 5, 127])


@dataclasses.dataclass
class Layer:
    """Weights [channels, taps, inputs] and the rest of a layer."""

    weights: np.ndarray
    bias: np.ndarray
    factors: np.ndarray
    bits: int
    input_zero: int
    output_zero: int

    def folded(self, rounding: str = "narrow") -> FoldedRescale:
        rows = self.weights.reshape(len(self.weights), -1).astype(np.int64)
        positive, negative = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
        low, high = -128 - self.input_zero, 127 - self.input_zero
        sums = Sums(
            (self.bias - self.input_zero * (positive + negative)).tolist(),
            (128 * (positive - negative)).tolist(),
            (positive * low + negative * high + self.bias).tolist(),
            (positive * high + negative * low + self.bias).tolist(),
        )
        return fold(self.factors, self.bits, rounding, sums, self.output_zero)

    def expected(self, accumulators: np.ndarray) -> np.ndarray:
        multipliers, shifts = zip(*(definition.held(factor, self.bits) for factor in self.factors), strict=True)
        return definition.narrow(accumulators, multipliers, shifts, self.output_zero)

    def expected_stock(self, accumulators: np.ndarray) -> np.ndarray:
        stock = rescale.quantize_multiplier(self.factors)
        integers = rescale.multiply_by_quantized_multiplier_double(accumulators, stock) + self.output_zero
        return np.clip(integers, -128, 127).astype(np.int8)


@st.composite
def layers(draw, channels: int, taps: int, inputs: int) -> Layer:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "random", "extreme", "sparse"]))
    weights = random.integers(-127, 128, (channels, taps, inputs)).astype(np.int8)
    if kind == "extreme":
        weights = random.choice([-128, 127], weights.shape).astype(np.int8)
    if kind == "sparse":  # some channels without any weight
        weights[random.random(channels) < 0.5] = 0
    spread = draw(st.sampled_from([0, 100, 20_000, 2_000_000, 1_000_000_000]))
    bias = random.integers(-spread, spread + 1, channels)
    largest = max(1.0, 128.0 * np.abs(weights).sum((1, 2)).max(initial=1), float(spread))
    middle = np.log2(200 / largest)
    exponent = draw(st.sampled_from([0, 0, 0, 4, -8, 12, -30]))
    factors = 2.0 ** (middle + exponent + random.uniform(-1, 1, channels))
    if draw(st.booleans()):
        factors[random.integers(channels)] = draw(st.sampled_from([0.0, 2.0**-33, 0.75, 1.0, 3.0, 40.0, 2.0**20]))
    bits = draw(st.sampled_from([1, 1, 2, 4, 8, 16, 31]))
    if draw(st.sampled_from([True, True, False])):  # else the layer could not be narrowed
        factors = rescale.decompose(factors, bits).value
    return Layer(weights, bias, factors, bits, draw(ZERO_POINTS), draw(ZERO_POINTS))


def images(draw, shape, zero_point: int) -> np.ndarray:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "random", "ends", "constant"]))
    if kind == "ends":
        return random.choice([-128, 127], shape).astype(np.int8)
    if kind == "constant":
        return np.full(shape, draw(st.sampled_from([-128, zero_point, 127])), np.int8)
    return random.integers(-128, 128, shape).astype(np.int8)


@st.composite
def window_shapes(draw, channels: int, outputs: int, dilated: bool = True) -> native.Window:
    axes = []
    for _ in range(2):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        dilation = draw(st.integers(1, 3)) if dilated else 1
        same = draw(st.booleans())
        size = draw(st.integers(1 if same else (kernel - 1) * dilation + 1, 10))
        output, before = definition.output_size(size, kernel, stride, dilation, same)
        axes.append((size, output, kernel, stride, dilation, before))
    size, output, kernel, stride, dilation, before = zip(*axes, strict=True)
    return native.Window(
        draw(st.integers(1, 2)), *size, channels, *output, outputs, *kernel, *stride, *dilation, *before, 0
    )  # fmt: skip


@st.composite
def windowed_cases(draw, depthwise: bool):
    inputs = draw(st.integers(1, 5))
    outputs = inputs * draw(st.integers(1, 3)) if depthwise else draw(st.integers(1, 5))
    window = draw(window_shapes(inputs, outputs))
    taps = window.kernel_height * window.kernel_width
    layer = draw(layers(outputs, taps, 1 if depthwise else inputs))
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, inputs)
    return window, layer, images(draw, shape, layer.input_zero)


@st.composite
def depthwise_cases_of_fours(draw):
    """Window, layer, image and accumulators of a depthwise convolution whose channels come in fours."""
    channels = 4 * draw(st.integers(1, 2))
    window = draw(window_shapes(channels, channels))
    taps = window.kernel_height * window.kernel_width
    layer = draw(layers(channels, taps, 1))
    window.padding_value = layer.input_zero
    shape = (window.batches, window.input_height, window.input_width, channels)
    image = images(draw, shape, layer.input_zero)
    view = definition.centred(definition.windows(image, window), layer.input_zero)
    view = view.reshape(*view.shape[:3], taps, channels)
    return window, layer, image, (view * layer.weights[:, :, 0].T.astype(np.int64)).sum(3) + layer.bias


def check(function: str, arguments: tuple, layer: Layer, image, accumulators, scratch=None, arrange=lambda rows: rows):
    """Holds every end that can compute a layer against the definition.

    Args:
      function: the kernel's name without its end.
      arguments: what comes before the rescale.
      layer: the layer.
      image: its input.
      accumulators: integers [..., channels] with bias and offset.
      scratch: bytes of working memory, None where the kernel has none.
      arrange: from weights [channels, elements] to those of the kernel.
    """
    try:
        ends = [folded := layer.folded()]
    except UnsupportedError:
        assert np.abs(layer.bias).max() > 1 << 29  # nothing else brings 32 bits into reach here
        return
    if folded.epilogue is Epilogue.SHIFT:
        ends.append(as_multiply(folded))
    if folded.epilogue is not Epilogue.WIDE:
        ends.append(as_wide(folded))
    rows = layer.weights.reshape(len(layer.weights), -1)
    alive = np.where(folded.dead[:, None], 0, rows).astype(np.int8)
    cases = [(end, False, alive, layer.expected(accumulators)) for end in ends]
    if layer.factors.max() < 2.0**30:
        stock = layer.folded("tflm")
        cases += [(stock, in_assembly, rows, layer.expected_stock(accumulators)) for in_assembly in (False, True)]
    for end, in_assembly, weights, expected in cases:
        structure, arrays = native.rescale_struct(end, in_assembly)
        given_weights = np.ascontiguousarray(arrange(weights))
        output = native.call(
            f"{function}_{end.epilogue.value}",
            *arguments,
            structure,
            given_weights,
            image,
            output_size=expected.size,
            scratch_size=scratch,
        )
        assert len(arrays) >= 2  # alive until here
        np.testing.assert_array_equal(output.reshape(expected.shape), expected, end.epilogue.value)


def _constant(folded) -> np.ndarray:
    shift = folded.shift.astype(np.int64)
    return np.where(folded.dead, 0, ((1 << shift) >> 1) + (np.int64(folded.zero_point) << shift))


def as_multiply(folded: FoldedRescale) -> FoldedRescale:
    """A layer of shifts for the kernel with multipliers."""
    constant, ones = _constant(folded).astype(np.int32), np.ones(len(folded.shift), np.int32)
    start = folded.start - constant
    return dataclasses.replace(folded, epilogue=Epilogue.MULTIPLY, start=start, multiplier=ones, fold=constant)


def as_wide(folded: FoldedRescale) -> FoldedRescale:
    """A layer for the kernel with 64-bit arithmetic."""
    if folded.epilogue is Epilogue.SHIFT:
        folded = as_multiply(folded)
    start = folded.start - np.where(folded.dead, folded.zero_point, 0).astype(np.int32)
    return dataclasses.replace(folded, epilogue=Epilogue.WIDE, start=start, fold=None)


@st.composite
def dense_cases(draw):
    rows, depth, channels = draw(st.integers(1, 4)), draw(st.integers(1, 70)), draw(st.integers(1, 6))
    layer = draw(layers(channels, 1, depth))
    return layer, images(draw, (rows, depth), layer.input_zero)
