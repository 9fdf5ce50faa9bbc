# SPDX-License-Identifier: Apache-2.0
"""UNIDIRECTIONAL_SEQUENCE_LSTM: gates land by their weights, the hidden state by its scale, which is the output's."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tests.helpers.weighted import bounds, edited, operator
from tflm_export import ModelError, narrow

STEPS, DEPTH, UNITS = 6, 5, 4
HIDDEN, CELL = 18, 19


def model(border=False, cell=2.0**-11) -> bytes:
    """A layer, and a dense one on all its outputs unless the layer is at the border."""
    b = TFLiteBuilder()
    x = b.input([1, STEPS, DEPTH], scale=0.0121)
    inputs = [x]
    for i, gate in enumerate(("input", "forget", "cell", "output")):
        data = b.random.integers(-127, 128, [UNITS, DEPTH])
        inputs.append(b.tensor(f"{gate}/weights", [UNITS, DEPTH], scale=0.0061 + 0.0011 * i, data=data))
    for i, gate in enumerate(("input", "forget", "cell", "output")):
        data = b.random.integers(-127, 128, [UNITS, UNITS])
        inputs.append(b.tensor(f"{gate}/recurrent", [UNITS, UNITS], scale=0.0073 + 0.0013 * i, data=data))
    inputs += [-1, -1, -1]
    for i, gate in enumerate(("input", "forget", "cell", "output")):
        data = b.random.integers(-3000, 3000, UNITS)
        step = np.float32(0.0121) * np.float32(0.0061 + 0.0011 * i)
        inputs.append(b.tensor(f"{gate}/bias", [UNITS], type="INT32", scale=step, data=data))
    inputs += [-1, -1]
    inputs.append(b.tensor("hidden", [1, UNITS], scale=0.0069, zero_point=2, variable=True))
    inputs.append(b.tensor("cell state", [1, UNITS], type="INT16", scale=cell, variable=True))
    inputs += [-1] * 4
    y = b.tensor("lstm", [1, STEPS, UNITS], scale=0.0069, zero_point=2)
    options = {"activation": "TANH", "cellClip": 10.0}
    b.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [y], 3, **options)
    floats = [b.tensor(f"intermediate{i}", [0], type="FLOAT32") for i in range(4)]
    described = b.tensor("effective hidden scale", [0], scale=0.0069, zero_point=2)
    b.graph.operators[-1].intermediates = [*floats, described]
    return b.build(x, y if border else b.fully_connected(b.reshape(y, [1, STEPS * UNITS]), 3))


class TestLSTM(NarrowedTests):
    op = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    change = {1: 0.3, 2: 0.15, 4: 0.1, 8: 0.06}  # noqa: RUF012
    models = {"inside": model()}  # noqa: RUF012

    def factors(self, operator):
        tensors = operator.inputs
        x, hidden, cell = scale(tensors[0]), scale(tensors[HIDDEN]), scale(tensors[CELL])
        of_input = [x * scale(tensors[1 + i]) * 4096 for i in range(4)]
        of_hidden = [hidden * scale(tensors[5 + i]) * 4096 for i in range(4)]
        return [*of_input, *of_hidden, 2.0**-15, 2.0**-30 / cell, 2.0**-30 / hidden]


@pytest.mark.parametrize("bits", [1, 4])
def test_the_hidden_scale_moves_wherever_it_stands(bits):
    data = model()
    narrowed, _ = narrow(data, bits)
    scales = [
        float(t.scale[0]) for t in peer.tensors(narrowed) if t.name in ("hidden", "lstm", "effective hidden scale")
    ]
    assert len(scales) == 3
    assert len(set(scales)) == 1
    assert 0.0069 < scales[0] < 2 * 0.0069


@pytest.mark.parametrize("bits", [1, 4])
def test_gate_biases_keep_their_real_values(bits):
    data = model()
    old, new = (operator(d, "UNIDIRECTIONAL_SEQUENCE_LSTM").inputs for d in (data, narrow(data, bits)[0]))
    for i in range(12, 16):
        real = [t[i].integers * scale(t[i]) for t in (old, new)]
        assert (np.abs(real[0] - real[1]) <= 0.5 * scale(new[i]) + np.abs(real[0]) * 2.0**-20).all()
        assert scale(new[i]) == pytest.approx(scale(new[0]) * scale(new[i - 11]), rel=2.0**-22)


def test_a_hidden_scale_at_the_border_is_reported_and_the_gates_still_narrow():
    with pytest.raises(ModelError, match=r"bound on both sides .*\(lstm\)"):
        narrow(model(border=True), 4)
    unpacked = unpack(model())
    graph = unpacked.subgraphs[0]
    graph.outputs = [*graph.outputs, graph.operators[0].outputs[0]]
    narrowed, report = narrow(pack(unpacked), 4)
    (row,) = report.offenders
    assert "(lstm)" in row.reason
    factors = TestLSTM().factors(operator(narrowed, "UNIDIRECTIONAL_SEQUENCE_LSTM"))
    assert peer.off_grids(np.array(factors[:10]), 4).max() < 2.0**-22
    assert peer.off_grids(np.array(factors[10:]), 4).max() > 2.0**-18


def test_a_cell_scale_that_is_no_power_of_two_is_reported():
    _, report = narrow(model(cell=0.0003), 4)
    assert "(cell state), has scale 0.0003, which is no power of two" in report.offenders[0].reason


def another_description(model, graph, tensors):
    tensors["effective hidden scale"].quantization.scale = [0.007]


def test_a_described_hidden_scale_of_its_own_stays():
    narrowed, report = narrow(edited(model(), another_description), 4)
    (row,) = report.offenders
    assert "(lstm)" in row.reason
    scales = {t.name: float(t.scale[0]) for t in peer.tensors(narrowed) if t.scale.size == 1}
    assert scales["hidden"] == scales["lstm"] == np.float32(0.0069)
    assert scales["effective hidden scale"] == np.float32(0.007)


def test_worst_case():
    narrowed, report = narrow(model(), 4)
    bound = bounds(narrowed, "UNIDIRECTIONAL_SEQUENCE_LSTM", 4)
    assert bound.accumulator.shape == bound.product.shape == (8 * UNITS + 3,)
    np.testing.assert_array_equal(bound.accumulator[-3:], 2.0**30)
    assert report.rows[0].accumulator == 2**30
