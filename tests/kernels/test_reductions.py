"""Pools, MEAN, SOFTMAX and data movement against their definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import definition, native
from tests.helpers.c_internals import emitted
from tests.helpers.layers import SCALES, images, window_shapes
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate

pytestmark = native.requires_gcc

INT8 = st.integers(-128, 127)


@st.composite
def pools(draw):
    channels = draw(st.integers(1, 4))
    window = draw(window_shapes(channels, channels, dilated=False))
    return window, images(draw, (window.batches, window.input_height, window.input_width, channels), 0)


@given(pools())
def test_pools(case):
    window, image = case
    view = definition.windows(image, window)
    shape = (*view.shape[:3], view.shape[5])
    average, largest = np.empty(shape, np.int8), np.empty(shape, np.int8)
    for index in np.ndindex(shape):
        inside = [v for v in view[(*index[:3], ..., index[3])].reshape(-1) if v is not None]
        mean = Fraction(sum(inside), len(inside))
        average[index] = definition.half_up(abs(mean)) * (1 if mean > 0 else -1)
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


@pytest.mark.parametrize("depth", [1, 4095])
def test_softmax_of_equal_inputs(depth):
    table = np.array([(1 << 31) - 1], np.int32)
    output = native.call("narrow_softmax", 1, depth, 1, table, np.zeros(depth, np.int8), output_size=depth)
    assert set(output.tolist()) == {127 if depth == 1 else -128}


@given(
    st.tuples(*[st.integers(1, 3)] * 4), st.tuples(*[st.integers(0, 2)] * 4), st.tuples(*[st.integers(0, 2)] * 4), INT8
)
def test_pad(shape, before, after, value):
    image = np.arange(np.prod(shape), dtype=np.int8).reshape(shape)
    wanted = np.pad(image, list(zip(before, after, strict=True)), constant_values=value)
    sides = [np.array(side, np.int32) for side in (shape, before, after)]
    output = native.call("narrow_pad", *sides, native.ctypes.c_int8(value), image, output_size=wanted.size)
    np.testing.assert_array_equal(output.reshape(wanted.shape), wanted)


def test_copy_rows():
    rows = np.arange(6, dtype=np.int8)
    output = native.call("narrow_copy_rows", 3, 2, 4, rows, output_size=10)
    assert output[[0, 1, 4, 5, 8, 9]].tolist() == rows.tolist()
