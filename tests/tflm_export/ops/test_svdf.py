# SPDX-License-Identifier: Apache-2.0
"""SVDF: two layers, of which the one over time has 16-bit weights; the state between them keeps its scale."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.helpers.weighted import bounds, edited, operator
from tflm_export import ModelError, narrow

UNITS, RANK, MEMORY, DEPTH = 5, 2, 4, 7
FILTERS = UNITS * RANK


def model(time="INT16", bias=True) -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, DEPTH])
    features = b.tensor("features", [FILTERS, DEPTH], scale=0.0113, data=b.random.integers(-127, 128, [FILTERS, DEPTH]))
    reach = 32767 if time == "INT16" else 127
    weights = b.random.integers(-reach, reach + 1, [FILTERS, MEMORY])
    weights = b.tensor("time", [FILTERS, MEMORY], type=time, scale=1.31 / reach, data=weights)
    state_scale = 51.0 / reach
    steps = b.random.integers(-reach, reach, UNITS)
    b.tensor("bias", [UNITS], type="INT32", scale=state_scale * 1.31 / reach, data=steps * 100)
    bias = len(b.graph.tensors) - 1 if bias else -1
    state = b.tensor("state", [1, FILTERS * MEMORY], type=time, scale=state_scale, variable=True)
    y = b.tensor("svdf", [1, UNITS], scale=0.217, zero_point=-7)
    b.operator("SVDF", [x, features, weights, bias, state], [y], 3, rank=RANK, activation="RELU")
    return b.build(x, y)


class TestSVDF(NarrowedTests):
    op = "SVDF"
    models = {"int16": model()}  # noqa: RUF012
    change = {1: 0.3, 2: 0.2, 4: 0.15, 8: 0.04}  # noqa: RUF012

    def factors(self, operator):
        x, features, time, _, state = operator.inputs
        y = operator.outputs[0]
        return [scale(x) * scale(features) / scale(state), scale(state) * scale(time) / scale(y)]


class TestSVDFInt8(TestSVDF):
    models = {"int8": model("INT8")}  # noqa: RUF012
    runtimes = ("tflm",)


@pytest.mark.parametrize("bits", [1, 8])
def test_state_and_output_keep_their_scales_and_the_bias_its_values(bits):
    data = model()
    old, new = (operator(d, "SVDF") for d in (data, narrow(data, bits)[0]))
    assert scale(old.inputs[4]) == scale(new.inputs[4])
    assert scale(old.outputs[0]) == scale(new.outputs[0])
    for place, step in ((1, 0.5), (2, 0.5), (3, 0.5)):
        real = [o.inputs[place].integers.astype(np.float64) * scale(o.inputs[place]) for o in (old, new)]
        bound = (step + 2.0**-9) * scale(new.inputs[place])
        assert (np.abs(real[0] - real[1]) <= bound + np.abs(real[0]) * 2.0**-20).all()
    assert scale(new.inputs[3]) == pytest.approx(scale(new.inputs[2]) * scale(new.inputs[4]), rel=2.0**-22)


@pytest.mark.parametrize("bits", [1, 4])
def test_worst_case_is_that_of_the_sums(bits):
    narrowed, report = narrow(model(), bits)
    x, features, time, bias, state = operator(narrowed, "SVDF").inputs
    bound = bounds(narrowed, "SVDF", bits).accumulator
    rows = features.integers.astype(np.int64)
    first = [np.abs((rows * (np.where(rows > 0, e, -1 - e) - x.zero)).sum(1)) for e in (127, -128)]
    np.testing.assert_array_equal(bound[:FILTERS], np.max(first, 0))
    rows = time.integers.astype(np.int64).reshape(UNITS, -1)
    ends = [(np.where(rows > 0, e, -1 - e) * rows).sum(1) + bias.integers for e in (32767, -32768)]
    np.testing.assert_array_equal(bound[FILTERS:], np.abs(ends).max(0))
    assert state.zero == 0
    assert report.rows[0].accumulator == bound.max()


def per_channel_features(model, graph, tensors):
    quantization = tensors["features"].quantization
    quantization.scale, quantization.zeroPoint = [0.01] * FILTERS, [0] * FILTERS


def no_rank(model, graph, tensors):
    graph.operators[0].builtinOptions.rank = 3


def two_dimensions_too_few(model, graph, tensors):
    tensors["features"].shape = [FILTERS * DEPTH]


def run_time_bias(model, graph, tensors):
    tensors["bias"].buffer = 0


def float_time(model, graph, tensors):
    tensors["state"].type = schema.TensorType.INT8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (per_channel_features, r"\(features\) needs one scale"),
        (no_rank, "a rank of 3 with 10 filters"),
        (two_dimensions_too_few, r"shapes \[70\] and \[10, 4\] do not fit"),
        (run_time_bias, r"\(bias\) is INT32 computed at run time"),
        (float_time, "are not supported"),
    ],
)
def test_what_stands_in_the_way_is_named(change, message):
    with pytest.raises(ModelError, match=message):
        narrow(edited(model(), change), 2)


def test_the_peers_view_agrees_on_what_changed():
    data = model()
    narrowed, _ = narrow(data, 1)
    changed = [new.name for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True)
               if old.data.tobytes() != new.data.tobytes() or old.scale != new.scale]  # fmt: skip
    assert changed == ["features", "time", "bias"]


def test_without_a_bias():
    """TFLM crashes on it; the file is narrowed all the same."""
    narrowed, report = narrow(model(bias=False), 2)
    assert report.offenders == ()
    assert peer.off_grids(np.array(TestSVDF().factors(operator(narrowed, "SVDF"))), 2).max() < 2.0**-22
