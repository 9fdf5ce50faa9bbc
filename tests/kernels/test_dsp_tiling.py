# SPDX-License-Identifier: Apache-2.0
"""The ways to go tile by tile on cores with the DSP extension, and weights of two channels in one lane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow
from tflm_export.c.cortex_m4 import loop_sizes
from tflm_export.c.dsp_weights import lanes, lanes_hold, together

# What a layer is: height, width, inputs, channels, kernel, stride; which walk it takes, and how its row is widened.
WAYS = {
    "pixels of 4": ((3, 4, 8, 6, 1, 1), "pixels", ""),
    "pixels of 4 and 3": ((5, 5, 12, 40, 1, 1), "pixels", ""),
    "pixels of 3": ((3, 3, 8, 7, 1, 1), "pixels", ""),
    "pixels of 2": ((1, 2, 16, 5, 1, 1), "pixels", ""),
    "first layer, stride 1": ((7, 8, 3, 8, 3, 1), "rows", "TWICE"),
    "first layer, stride 2": ((9, 11, 3, 6, 3, 2), "rows", "ORDER"),
    "gray first layer": ((12, 12, 1, 4, 5, 1), "rows", "TWICE"),
    "rows of fours": ((6, 7, 8, 4, 3, 1), "rows", "FOURS"),
    "columns": ((9, 9, 2, 64, 5, 2), "columns", "ORDER"),
    "columns of odd rows": ((8, 9, 1, 64, 3, 1), "columns", "TWICE"),
    "columns of fours": ((5, 5, 4, 64, 3, 1), "columns", "FOURS"),
    "gathered": ((5, 5, 3, 3, 17, 1), "windows", ""),
}


def layer(name: str, batch: int = 1, most: int = 127, is_dense: bool = False) -> bytes:
    """A model of one layer, with weights up to -most -1."""
    height, width, inputs, channels, kernel, stride = WAYS[name][0]
    b = TFLiteBuilder(len(name))
    x = b.input([batch, height, width, inputs])
    y = b.conv(x, channels, kernel, stride=stride, padding="SAME", name="layer")
    return changed(b, b.build, x, y, most)


def changed(b, build, x, y, most: int) -> bytes:
    if most != 127:
        w = b.graph.operators[-1].inputs[1]
        data = b.random.choice([-128, 127, -1], b.shape(w)).astype(np.int8)
        b.model.buffers[b.buffer(w)].data = data.reshape(-1).view(np.uint8)
    return build(x, y)


def statements(data: bytes, bits: int = 1) -> tuple[str, str]:
    (step,) = translate(data, "model", bits, core="cortex-m4").steps
    return " ".join(step.statements), " ".join(step.definitions)


@pytest.mark.parametrize("name", WAYS)
def test_which_way_a_layer_goes(name):
    text, definitions = statements(layer(name))
    assert f"narrow_conv_2d_{WAYS[name][1]}_dsp(" in text
    assert WAYS[name][2] in text
    assert "LANES" in definitions


@native.requires_gcc
@pytest.mark.parametrize("bits", [1, 8, 31])
@pytest.mark.parametrize("name", WAYS)
def test_ways_equal_the_simulator(name, bits):
    data = layer(name, batch=1 + bits % 2)
    assert_equals_simulator(narrow(data, bits)[0] if bits < 31 else data, bits, "narrow", core="cortex-m4")


@native.requires_gcc
@pytest.mark.parametrize("name", WAYS)
def test_ways_with_weights_that_no_lane_holds(name):
    data = layer(name, most=128)
    assert "EACH" in statements(data, 31)[1]
    assert_equals_simulator(data, 31, "tflm", core="cortex-m4")


def several(seed: int) -> bytes:
    """All layers of WAYS and dense ones, each on an input of its own, of which some have weights of -128."""
    b = TFLiteBuilder(seed)
    total = sum(int(np.prod(sizes[:3])) for sizes, _, _ in WAYS.values()) + 2 * 67
    x = b.input([1, total])
    parts, at = [], 0
    for i, ((height, width, inputs, channels, kernel, stride), _, _) in enumerate(WAYS.values()):
        image = _slice(b, x, at, [1, height, width, inputs])
        at += height * width * inputs
        y = b.conv(image, channels, kernel, stride=stride, scale=0.0613, zero_point=-5, name=f"layer{i}")
        _extreme(b, (seed + i) % 3 == 0)
        parts.append(b.reshape(y, [1, int(np.prod(b.shape(y)))], name=f"flat{i}"))
    for i, (depth, channels) in enumerate([(67, 10), (64, 3), (3, 8)]):
        parts.append(
            b.fully_connected(_slice(b, x, at, [1, depth]), channels, scale=0.0613, zero_point=-5, name=f"fc{i}")
        )
        _extreme(b, (seed + i) % 3 == 0)
    y = b.tensor("all", [1, sum(b.shape(p)[1] for p in parts)], scale=0.0613, zero_point=-5)
    b.operator("CONCATENATION", parts, [y], 2, axis=1)
    return b.build(x, y)


def _slice(b, x: int, at: int, shape: list[int]) -> int:
    size = int(np.prod(shape))
    ends = [
        b.tensor(f"{name}{at}_{size}", [2], type="INT32", data=np.array(v))
        for name, v in (("b", [0, at]), ("s", [1, size]))
    ]
    y = b.tensor(f"part{at}_{size}", [1, size], scale=b.scale(x), zero_point=b.zero_point(x))
    b.operator("SLICE", [x, *ends], [y], 2)
    return b.reshape(y, shape, name=f"shaped{at}_{size}")


def _extreme(b, is_extreme: bool) -> None:
    if is_extreme:
        w = b.graph.operators[-1].inputs[1]
        data = b.random.choice([-128, 127, -1], b.shape(w)).astype(np.int8)
        b.model.buffers[b.buffer(w)].data = data.reshape(-1).view(np.uint8)


@pytest.mark.parametrize("rescale", [1, 8, "stock"])
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_assembly_equals_the_simulator(core, rescale):
    """Every way, odd numbers of channels, and dense layers of any size."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    data = several(len(str(rescale)))
    inputs, _ = device.inputs_for(data, 2, None, 1.0)
    inputs[1] = np.where(inputs[1] > 0, 127, -128)
    assert device.measure(data, "ways", core, rescale, inputs).equal


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


@given(st.integers(1, 40), st.integers(2, 5), st.sampled_from([1, 60, 127, 128]), st.integers(0, 2**32 - 1))
def test_both_channels_come_out_of_a_lane(depth, channels, most, seed):
    """Against the sums themselves, in wrapping arithmetic; the condition is that of the weights and the start."""
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
        ([[0] * 512, [127] * 512], [0, 0], True),
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
