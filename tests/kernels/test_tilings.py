# SPDX-License-Identifier: Apache-2.0
"""The ways in which convolutions go tile by tile, each of them in turn, and dense layers of any size."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow
from tflm_export.c import choice
from tflm_export.c.dsp_tiling import counts
from tflm_export.c.dsp_weights import lanes, lanes_hold, together
from tflm_export.c.tiles import loop_sizes

# Layers: height, width, inputs, channels, kernel, stride.
LAYERS = {
    "12 pixels": (3, 4, 8, 6, 1, 1),
    "25 pixels": (5, 5, 12, 40, 1, 1),
    "9 pixels": (3, 3, 8, 7, 1, 1),
    "5 pixels": (1, 5, 4, 3, 1, 1),
    "2 pixels": (1, 2, 16, 5, 1, 1),
    "pointwise of odd inputs": (3, 5, 7, 5, 1, 1),
    "first, stride 1": (7, 8, 3, 8, 3, 1),
    "first, stride 2": (9, 11, 3, 6, 3, 2),
    "gray, stride 1": (12, 12, 1, 4, 5, 1),
    "gray, stride 2": (13, 7, 1, 6, 4, 2),
    "fours": (6, 7, 8, 4, 3, 1),
    "two inputs": (9, 9, 2, 18, 5, 2),
    "odd rows": (8, 9, 1, 20, 3, 1),
    "too high": (5, 5, 3, 3, 17, 1),
}
MOST_WAYS = 9  # of any of them
RESCALES = (1, 8, 16, "stock")


@pytest.fixture
def take(monkeypatch):
    """Makes the exporter take the way of a number, of those that a layer has."""

    def set_number(number: int) -> None:
        monkeypatch.setitem(choice.OPTIMIZE, "speed", lambda: lambda ways: ways[number % len(ways)])

    return set_number


def convolution(name: str) -> bytes:
    """A model of one layer."""
    height, width, inputs, channels, kernel, stride = LAYERS[name]
    b = TFLiteBuilder()
    x = b.input([1, height, width, inputs])
    return b.build(x, b.conv(x, channels, kernel, stride=stride, name="layer"))


def make_extreme(b) -> None:
    """Gives the layer that was added last weights of which no lane holds two."""
    w = b.graph.operators[-1].inputs[1]
    data = b.random.choice([-128, 127, -1], b.shape(w)).astype(np.int8)
    b.model.buffers[b.buffer(w)].data = data.reshape(-1).view(np.uint8)


def all_layers(seed: int, batch: int = 1) -> bytes:
    """Every one of LAYERS and dense ones, each on a part of the input of its own; some have extreme weights."""
    b = TFLiteBuilder(seed)
    dense = ((67, 10), (64, 3), (3, 8))
    x = b.input([batch, sum(int(np.prod(sizes[:3])) for sizes in LAYERS.values()) + sum(depth for depth, _ in dense)])
    parts, at = [], itertools.accumulate([0, *(int(np.prod(s[:3])) for s in LAYERS.values()), *(d for d, _ in dense)])
    for i, (height, width, inputs, channels, kernel, stride) in enumerate(LAYERS.values()):
        image = part(b, x, next(at), [batch, height, width, inputs])
        y = b.conv(image, channels, kernel, stride=stride, scale=0.0613, zero_point=-5, name=f"layer{i}")
        if (seed + i) % 3 == 0:
            make_extreme(b)
        parts.append(b.reshape(y, [batch, int(np.prod(b.shape(y)[1:]))], name=f"flat{i}"))
    for i, (depth, channels) in enumerate(dense):
        row = part(b, x, next(at), [batch, depth])
        parts.append(b.fully_connected(row, channels, scale=0.0613, zero_point=-5, name=f"dense{i}"))
        if (seed + i) % 3 == 0:
            make_extreme(b)
    halves = [joined(b, parts[:9], "half"), joined(b, parts[9:], "other half")]
    return b.build(x, joined(b, halves, "all"))


def joined(b, parts: list[int], name: str) -> int:
    """Rows side by side; few enough for a call in the tests."""
    y = b.tensor(name, [b.shape(parts[0])[0], sum(b.shape(p)[1] for p in parts)], scale=0.0613, zero_point=-5)
    b.operator("CONCATENATION", parts, [y], 2, axis=1)
    return y


def part(b, x: int, at: int, shape: list[int]) -> int:
    """Some elements of each row, as an image."""
    size = int(np.prod(shape[1:]))
    ends = (("begin", [0, at]), ("size", [shape[0], size]))
    ends = [b.tensor(f"{name}{at}", [2], type="INT32", data=np.array(values)) for name, values in ends]
    y = b.tensor(f"part{at}", [shape[0], size], scale=b.scale(x), zero_point=b.zero_point(x))
    b.operator("SLICE", [x, *ends], [y], 2)
    return b.reshape(y, shape, name=f"shaped{at}")


def walks(data: bytes, core: str, take) -> set[str]:
    """The functions that go through the layer's output, in all of its ways."""
    found = set()
    for number in range(MOST_WAYS):
        take(number)
        (step,) = translate(data, "model", 1, core=core).steps
        found |= {text.split("(")[0] for text in step.statements if text.startswith("narrow_conv_2d_")}
    return found


@pytest.mark.parametrize(
    ("name", "dsp", "v6m"),
    [
        ("12 pixels", {"pixels"}, {"pixels"}),
        ("pointwise of odd inputs", {"columns"}, {"pixels"}),
        ("first, stride 1", {"columns", "rows"}, {"columns", "rows", "windows"}),
        ("fours", {"columns", "rows"}, {"columns", "rows", "windows"}),
        ("too high", {"windows"}, {"windows"}),
    ],
)
def test_which_ways_there_are(name, dsp, v6m, take):
    data = convolution(name)
    assert walks(data, "cortex-m4", take) >= {f"narrow_conv_2d_{walk}_dsp" for walk in dsp}
    assert walks(data, "cortex-m0plus", take) == {f"narrow_conv_2d_{walk}_v6m" for walk in v6m}


CASES = [("cortex-m4", n) for n in range(MOST_WAYS)] + [("cortex-m0plus", n) for n in range(4)]
CASES += [("rv32ic", n) for n in range(3)]  # one way, three widths; extreme weights go to portable kernels


@pytest.mark.sweep(4)
@native.requires_gcc
@pytest.mark.parametrize(("core", "number"), sampled(CASES[::-1], 2))
def test_every_way_equals_the_simulator(core, number, take):
    """In plain C, with undefined behaviour and memory beyond outputs or scratch memory trapped."""
    take(number)
    bits, data = (1, 8, 31)[number % 3], all_layers(number, 1 + number % 2)
    data = narrow(data, bits)[0] if bits < 31 else data
    assert_equals_simulator(data, bits, "tflm" if number == 5 else "narrow", rows=1, core=core)


@pytest.mark.sweep(4)
@pytest.mark.parametrize(("core", "number"), sampled(CASES, 2))
def test_every_way_in_assembly(core, number, take):
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    take(number)
    data = all_layers(number)
    inputs, _ = device.inputs_for(data, 2, None, 1.0)
    inputs[1] = np.where(inputs[1] > 0, 127, -128)
    assert device.measure(data, "ways", core, RESCALES[number % len(RESCALES)], inputs).equal


@pytest.mark.sweep(4)
@native.requires_gcc
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize(("bits", "rounding"), [(1, "narrow"), (8, "narrow"), (31, "narrow"), (31, "tflm")])
def test_dense_layers_of_any_size(core, bits, rounding):
    b = TFLiteBuilder(bits)
    x = y = b.input([3, 7])
    for i, channels in enumerate([10, 1, 8, 3]):
        y = b.fully_connected(y, channels, name=f"dense{i}")
    data = b.build(x, y)
    data = narrow(data, bits)[0] if bits < 31 else data
    assert_equals_simulator(data, bits, rounding, core=core)
    kernels = {kernel for step in translate(data, "model", bits, rounding, core).steps for kernel in step.kernels}
    assert "narrow_fully_connected.c" not in kernels


@given(st.integers(1, 200), st.booleans(), st.booleans())
def test_tiles_cover_a_line(length, is_even, is_exact):
    for count in counts(length, 1, 4, is_even, is_exact):
        covered = sum(pixels * number for pixels, number in count.items())
        assert covered == length or (length < covered < length + max(count) and len(count) == 1 and not is_exact)
    assert length < 2 or is_even or is_exact or counts(length, 1, 4)


@given(st.integers(1, 40), st.integers(2, 5), st.sampled_from([1, 60, 127, 128]), st.integers(0, 2**32 - 1))
def test_both_channels_come_out_of_a_lane(depth, channels, most, seed):
    """Against the sums themselves, in wrapping arithmetic."""
    random = np.random.default_rng(seed)
    rows = random.integers(-most, min(most, 127) + 1, (channels, depth))
    start = random.choice([0, 1 << 22, -(1 << 22), (1 << 23) - 1, 1 << 23], channels)
    if not lanes_hold(rows, start):
        return
    x = random.choice([-128, 127], depth)
    words = lanes(np.pad(rows, ((0, 0), (0, depth % 2))).reshape(channels, -1, 2).astype(np.int8))
    halves = words.view("<i2").astype(np.int64)[:, :depth]
    first = np.minimum(np.arange(0, channels, 2), channels - 2)
    a, b = rows[first] @ x + start[first], rows[first + 1] @ x + start[first + 1]
    begin = together(np.stack([start[first], start[first + 1]], 1))[:, 1].astype(np.int64)
    difference = (begin + halves @ x - a + (1 << 31)) % (1 << 32) - (1 << 31)
    np.testing.assert_array_equal(difference >> 8, b)


@pytest.mark.parametrize(
    ("rows", "start", "holds"),
    [
        ([[0] * 515, [127] * 515], [0, 0], True),
        ([[0] * 517, [127] * 517], [0, 0], False),  # 128 * 127 * 517 is beyond 2^23
        ([[0], [0]], [1 << 30, (1 << 23) - 1], True),
        ([[0], [0]], [0, 1 << 23], False),
        ([[-1], [-128]], [0, 0], False),  # 256 * -128 - 1 is no int16
        ([[0], [-128]], [0, 0], True),
        ([[-128], [-127]], [0, 0], True),
        ([[1], [-1], [-128]], [0, 0, 0], False),  # the last two are a pair, too
    ],
)
def test_what_a_lane_holds(rows, start, holds):
    assert lanes_hold(np.array(rows), np.array(start)) is holds


@given(st.integers(1, 3000))
def test_loops_are_short_and_whole(words):
    loops, unrolled, rest = loop_sizes(words)
    assert loops * unrolled + rest == words
    assert unrolled + rest <= 12
