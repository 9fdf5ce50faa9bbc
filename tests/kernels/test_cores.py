# SPDX-License-Identifier: Apache-2.0
"""The kernels of single cores: their plain C against the definition on the host. Emulated cores run the assembly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.cases import check, dense_cases, depthwise_cases_of_fours
from tests.helpers.fans import fan
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow
from tflm_export.c.cortex_m0plus import shrink
from tflm_export.c.cortex_m4 import channel_pairs
from tflm_export.c.dsp_weights import each, in_fours, in_order

CORES = ("cortex-m4", "cortex-m0plus")

pytestmark = native.requires_gcc


def word(*values: int) -> int:
    """A little-endian word of four int8 or two int16, lowest first."""
    bits = 32 // len(values)
    unsigned = sum((int(v) & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(values))
    return unsigned - ((unsigned >> 31) << 32)


def words_dsp(rows: np.ndarray) -> np.ndarray:
    """Weights of narrow_fully_connected_dsp as narrow_kernels.h says."""
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    channels, depth = rows.shape
    shape = (channels // 4, depth // 4, 2, 2)
    packed = [
        word(rows[a, k], rows[a + 1, k], rows[a, k + 2], rows[a + 1, k + 2])
        for c, i, pair, odd in np.ndindex(shape)
        for a, k in [(4 * c + 2 * pair, 4 * i + odd)]
    ]
    return np.array(packed, np.int32).reshape(shape)


def words_v6m(rows: np.ndarray) -> np.ndarray:
    """Weights of narrow_fully_connected_v6m."""
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    shape = (len(rows) // 4, rows.shape[1] // 2, 2)
    packed = [
        word(rows[a, k], rows[a + 1, k], rows[a, k + 1], rows[a + 1, k + 1])
        for c, i, pair in np.ndindex(shape)
        for a, k in [(4 * c + 2 * pair, 2 * i)]
    ]
    return np.array(packed, np.int32).reshape(shape)


def words_depthwise(rows: np.ndarray) -> np.ndarray:
    """Weights of narrow_depthwise_conv_2d_dsp."""
    shape = (len(rows) // 4, rows.shape[1], 2)
    packed = [word(rows[4 * c + odd, k], rows[4 * c + odd + 2, k]) for c, k, odd in np.ndindex(shape)]
    return np.array(packed, np.int32).reshape(shape)


def test_the_exporter_packs_weights_as_the_kernels_say():
    rows = np.random.default_rng(0).choice([-128, -127, -1, 0, 1, 127], (12, 21)).astype(np.int8)
    quads = each(in_order(np.pad(rows, ((0, 0), (0, 3))))).reshape(3, 2, 12, 1).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(quads[..., 0], words_v6m(rows))
    np.testing.assert_array_equal(channel_pairs(rows.T), words_depthwise(rows))
    quads = each(in_fours(rows[:, :20])).reshape(3, 2, 5, 2).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(quads, words_dsp(rows[:, :20]))


@pytest.mark.slow
@given(depthwise_cases_of_fours())
def test_depthwise_conv_2d_dsp(case):
    window, layer, image, accumulators = case
    scratch = layer.weights.size
    check("narrow_depthwise_conv_2d_dsp", (window,), layer, image, accumulators, scratch, words_depthwise)


@pytest.mark.slow
@given(dense_cases(1, 4))
def test_fully_connected_dsp(case):
    layer, rows, accumulators = case
    shape, scratch = (*rows.shape, len(layer.weights)), -(-rows.shape[1] // 4) * 4
    check("narrow_fully_connected_dsp", shape, layer, rows, accumulators, scratch, words_dsp)


@pytest.mark.slow
@given(dense_cases(1, 4))
def test_fully_connected_v6m(case):
    layer, rows, accumulators = case
    shape, scratch = (*rows.shape, len(layer.weights)), 4 * (-(-rows.shape[1] // 4) * 4)
    check("narrow_fully_connected_v6m", shape, layer, rows, accumulators, scratch, words_v6m)


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("seed", range(6))
def test_layers_of_all_sizes(core, seed):
    """Every layer, with undefined behaviour and memory beyond its output or scratch memory trapped."""
    bits = (1, 8, 31)[seed % 3]
    data = fan(seed, batch=1 + seed % 2)
    assert_equals_simulator(narrow(data, bits)[0] if bits < 31 else data, bits, "narrow", core=core)


@pytest.mark.sweep(5)
@pytest.mark.parametrize("core", CORES)
def test_layers_with_the_stock_rescale(core):
    assert_equals_simulator(fan(6), 31, "tflm", core=core)


@pytest.mark.sweep(5)
@pytest.mark.parametrize(
    ("core", "seed", "rescale"),
    [
        *((core, *case) for core in CORES for case in [(7, 1), (8, 4), (9, "stock")]),
        ("cortex-m3", 10, 1),
        ("cortex-m3", 11, "stock"),
    ],
)
def test_assembly_equals_its_twin_in_c(core, seed, rescale):
    """On the emulated core; the twin is what the tests above run."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    data = fan(seed)
    inputs, _ = device.inputs_for(data, 2, None, 1.0)
    inputs[1] = np.where(inputs[1] > 0, 127, -128)
    assert device.measure(data, "fan", core, rescale, inputs).equal


@given(
    st.integers(1, 3), st.integers(1, 40), st.sampled_from([2, 4, 8, 16]), st.sampled_from([1, 60, 128]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_weights_of_a_block_fit_a_lane(kernel_rows, inputs, size, reach, seed):
    rows = np.random.default_rng(seed).integers(-reach, reach, (2, kernel_rows, inputs)).astype(np.int8)
    fitting, missing = shrink(rows, size)
    np.testing.assert_array_equal(fitting + missing, rows)
    for start in range(0, inputs, size):
        block = fitting[:, :, start : start + size]
        assert np.abs(block).sum(2).max() <= 255
        enough = np.abs(rows[:, :, start : start + size].astype(int)).sum(2) <= 255
        assert not missing[:, :, start : start + size][enough].any()
    for part in (fitting, missing):
        assert (np.abs(part) <= np.abs(rows.astype(int))).all()


@pytest.mark.parametrize(
    ("core", "headers", "others"),
    [
        ("cortex-m4", {"tiles_dsp": 4, "planes_dsp": 1, "fully_connected_lanes_dsp": 1}, 1),
        ("cortex-m0plus", {"tiles_v6m": 4, "pairs_v6m": 1, "fully_connected_lanes_v6m": 1}, 1),
        ("portable", {}, 7),
    ],
)
def test_which_kernels_a_core_gets(core, headers, others):
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    y = b.conv(b.depthwise(b.conv(x, 8)), 8, 1)
    y = b.conv(b.conv(b.conv(y, 8), 7, name="odd"), 1, name="one")
    program = translate(b.build(x, b.fully_connected(b.flatten(y), 3)), "model", 1, core=core)
    kernels = [kernel for step in program.steps for kernel in step.kernels]
    for header, count in headers.items():
        assert sum(header in kernel for kernel in kernels) == count
    assert len(kernels) - sum(headers.values()) == others
    assert "narrow_conv_2d.c" in kernels  # the one of a single channel


@pytest.mark.parametrize("core", CORES)
def test_which_tensors_are_kept_channel_by_channel(core):
    """Those between a convolution and depthwise layers alone, the model's output excepted."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 4])
    first = b.conv(x, 8, name="first")
    second = b.conv(b.depthwise(first, name="d1"), 8, 1, name="second")
    third = b.conv(b.add(b.depthwise(second, name="d2"), second), 8, name="third")
    program = translate(b.build(x, b.conv(b.depthwise(third, kernel=2, name="d3"), 4)), "model", 1, core=core)
    kept = {step.output.name: step.channels_first for step in program.steps if step.channels_first}
    assert kept == {"first": ("y",), "d1": ("x0",), "third": ("y",), "d3": ("x0",)}
