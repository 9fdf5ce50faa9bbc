# SPDX-License-Identifier: Apache-2.0
"""Depthwise layers of every kind plane by plane: each one against the simulator, on the host and on emulated cores."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import definition, native
from tests.helpers.c_internals import translate
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tflm_export import lowering, narrow
from tflm_export.arithmetic import Tflm
from tflm_export.c import cost
from tflm_export.c.dsp_planes import DspPlanes
from tflm_export.c.pair_planes import PairPlanes
from tflm_export.c.tiles import Layout
from tflm_export.flatbuffer.model import parse

CORES = {"cortex-m4": "planes_dsp", "cortex-m0plus": "pairs_v6m"}
# Image (height, width, channels), multiplier, kernel, stride, dilation, SAME or VALID.
LAYERS = {
    "3x3": ((6, 6, 3), 1, (3, 3), (1, 1), (1, 1), True),
    "wide and low": ((2, 13, 2), 1, (3, 3), (1, 1), (1, 1), True),
    "narrow and high": ((13, 5, 2), 1, (3, 3), (1, 1), (1, 1), True),
    "stride 2": ((12, 12, 2), 1, (3, 3), (2, 2), (1, 1), True),
    "stride 2 behind padding": ((11, 9, 2), 1, (3, 3), (2, 2), (1, 1), True),
    "multiplier 3": ((7, 7, 2), 3, (3, 3), (1, 1), (1, 1), True),
    "k x 1 on one column": ((28, 1, 5), 1, (5, 1), (1, 1), (1, 1), False),
    "long k x 1": ((24, 1, 3), 2, (10, 1), (1, 1), (1, 1), False),
    "k x 1": ((9, 6, 3), 1, (4, 1), (1, 1), (1, 1), True),
    "1 x k": ((3, 20, 2), 1, (1, 7), (1, 1), (1, 1), True),
    "2x2": ((6, 7, 3), 1, (2, 2), (1, 1), (1, 1), True),
    "5x5": ((9, 10, 2), 1, (5, 5), (1, 1), (1, 1), True),
    "5x5 at stride 2": ((9, 10, 2), 1, (5, 5), (2, 2), (1, 1), True),
    "7x4": ((9, 10, 2), 1, (7, 4), (1, 1), (1, 1), True),
    "9x9": ((11, 12, 1), 2, (9, 9), (1, 1), (1, 1), True),
    "stride 3": ((13, 14, 2), 1, (4, 5), (3, 3), (1, 1), True),
    "two strides": ((13, 14, 2), 1, (3, 4), (1, 2), (1, 1), False),
    "dilation 2": ((11, 12, 2), 1, (3, 3), (1, 1), (2, 2), True),
    "dilations": ((12, 11, 2), 1, (3, 4), (1, 1), (3, 2), True),
    "dilation and stride": ((12, 15, 2), 2, (3, 3), (2, 3), (2, 2), True),
    "one output": ((5, 4, 6), 1, (5, 4), (1, 1), (1, 1), False),
    "pointwise": ((5, 6, 3), 2, (1, 1), (1, 1), (1, 1), True),
    "pointwise at stride 2": ((5, 6, 3), 1, (1, 1), (2, 2), (1, 1), True),
    "many channels": ((3, 7, 700), 1, (3, 3), (1, 1), (1, 1), True),
    "strips": ((60, 50, 1), 2, (3, 3), (1, 1), (1, 1), True),
    "strips at stride 2": ((90, 61, 1), 3, (5, 4), (2, 2), (1, 1), True),
    "one channel": ((20, 10, 1), 4, (10, 8), (2, 2), (1, 1), True),
}
_SCALE, _ZERO = 0.0613, -5


@pytest.fixture(autouse=True)
def first_ways(monkeypatch):
    """Planes are the first way that a core has, and taken where costs are unknown."""
    monkeypatch.setattr(cost, "table", dict)


def depthwise(kind: str, seed: int, batch: int = 1, extreme: bool = False) -> bytes:
    """A model of one layer; extreme: with weights of -128 and 127 alone."""
    (height, width, inputs), multiplier, kernel, stride, dilation, same = LAYERS[kind]
    random = np.random.default_rng(seed)
    b = TFLiteBuilder(seed)
    x = b.input([batch, height, width, inputs], zero_point=int(random.choice([-128, -3, 0, 127])))
    channels, shape = inputs * multiplier, [1, *kernel, inputs * multiplier]
    w, bias = b.weights(x, shape, 3, kernel[0] * kernel[1], "layer", None, True, True, _SCALE)
    if extreme:
        data = random.choice([-128, 127], shape)
        b.model.buffers[b.buffer(w)].data = data.astype(np.int8).reshape(-1).view(np.uint8)
    axes = zip((height, width), kernel, stride, dilation, strict=True)
    size = [definition.output_size(*axis, same)[0] for axis in axes]
    y = b.tensor("layer", [batch, *size, channels], scale=_SCALE, zero_point=_ZERO)
    padding = schema.Padding.SAME if same else schema.Padding.VALID
    b.operator(
        "DEPTHWISE_CONV_2D", [x, w, bias], [y], 3, activation="NONE", padding=padding, depthMultiplier=multiplier,
        strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0], dilationWFactor=dilation[1],
    )  # fmt: skip
    return b.build(x, y)


@pytest.mark.sweep(12)
@native.requires_gcc
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kind", LAYERS)
def test_on_the_host(kind, core):
    """With a shift, with multipliers, in 64 bits and with the stock rescale; memory beyond the layer's is trapped."""
    seed = list(LAYERS).index(kind)
    stock = depthwise(kind, seed, batch=1 + seed % 2, extreme=seed % 3 == 0)
    program = translate(narrow(stock, 1)[0], "model", 1, core=core)
    assert f"narrow_depthwise_conv_2d_{CORES[core]}.h" in program.steps[0].kernels
    for bits in (1, 8, 31):
        assert_equals_simulator(narrow(stock, bits)[0] if bits < 31 else stock, bits, "narrow", rows=1, core=core)
    assert_equals_simulator(stock, 31, "tflm", rows=1, core=core)


@pytest.mark.sweep(6)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kind", LAYERS)
def test_on_an_emulated_core(kind, core):
    """The assembly, which the tests on the host do not have."""
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import device

    seed = list(LAYERS).index(kind)
    data = depthwise(kind, seed, extreme=seed % 2 == 0)
    inputs, _ = device.inputs_for(data, 2, None, 1.0)
    inputs[1] = np.where(inputs[1] > 0, 127, -128)
    for rescale in (1, ("stock", 8)[seed % 2]):
        assert device.measure(data, "model", core, rescale, inputs).equal


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("largest", [20, 60, 128])
def test_products_that_are_added_before_they_are_split_fit_a_lane(kind, largest):
    """The sum of |w| * 128 of any run of taps between splits is an int16, of the kernel that a channel has."""
    (step,) = lowering.lower(parse(depthwise(kind, 1)), Tflm()).main.steps
    rows = np.random.default_rng(2).integers(-largest, largest, step.form.rows.shape)
    rows[0] = -128  # a channel of its own
    form = dataclasses.replace(step.form, weights=rows.reshape(step.form.weights.shape).astype(np.int8))
    layout = Layout(form.channels, 1, form.output.size)
    for transposed in (False, True):
        planes = PairPlanes(form, layout, layout, None, transposed)
        usual, least, wide = planes.blocks
        weights = np.abs(planes.taps(form.rows.T).astype(np.int64))  # [rows, columns, channels]
        for channels, block in ((~wide, usual), (wide, least)):
            for start in range(0, weights.shape[1], block):
                assert (128 * weights[:, start : start + block, channels].sum(1) < 1 << 15).all()


@pytest.mark.parametrize("kind", LAYERS)
def test_plane_loads_are_of_whole_words(kind):
    """Every load of inputs is at a multiple of 4 bytes from an aligned row, and within the strip."""
    (step,) = lowering.lower(parse(depthwise(kind, 1)), Tflm()).main.steps
    form = step.form
    layout = Layout(form.channels, 1, form.output.size)
    for transposed in (False, True):
        planes = DspPlanes(form, layout, layout, None, transposed)
        assert planes.pitch % 2 == 0
        rows, columns = planes.axes
        needed = (columns.output - 1) * columns.stride + (columns.kernel - 1) * columns.dilation + 1
        assert needed <= planes.pitch
        assert (rows.output - 1) % planes.strip * rows.stride + (rows.kernel - 1) * rows.dilation < planes.height
        offsets = [int(line.split("#")[1][:-1]) for line in planes.loop.assembly() if line.startswith("ldr r2, [r0")]
        assert offsets
        assert all(offset % 4 == 0 for offset in offsets)
