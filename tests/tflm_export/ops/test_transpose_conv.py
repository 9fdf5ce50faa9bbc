# SPDX-License-Identifier: Apache-2.0
"""TRANSPOSE_CONV: a layer whose operands stand in another order."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds, edited, operator
from tflm_export import narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.ops import op_for
from tflm_export.simulator import simulate


def model(type="INT8", **options) -> bytes:
    b = TFLiteBuilder()
    if type == "INT16":
        x = b.input([1, 5, 4, 6], type=type, scale=0.0371 / 256, zero_point=0)
        return b.build(x, b.transpose_conv(x, 3, name="layer", scale=0.0577 / 256, zero_point=0, **options))
    zero = {"UINT8": (125, 137)}.get(type, (-3, 9))
    x = b.input([1, 5, 4, 6], type=type, zero_point=zero[0])
    return b.build(x, b.transpose_conv(x, 3, name="layer", zero_point=zero[1], **options))


class TestTransposeConv(NarrowedTests):
    op = "TRANSPOSE_CONV"
    models = {  # noqa: RUF012
        "channels": model(),
        "tensor": model(per_channel=False),
        "no bias": model(bias=False),
        "relu": model(activation="RELU"),
        "stride 1": model(stride=1, kernel=2),
        "int16": model("INT16"),
    }

    def factors(self, operator):
        _, w, x, *_ = operator.inputs
        return list(scale(x) * w.scale.astype(np.float64) / scale(operator.outputs[0]))


class TestUInt8(TestTransposeConv):
    models = {"uint8": model("UINT8", per_channel=False)}  # noqa: RUF012
    runtimes = ("tflite",)


@pytest.mark.parametrize("bits", [1, 4])
def test_biases_keep_their_real_values(bits):
    data = model()
    (_, _, x, old), (_, w, _, new) = (operator(d, "TRANSPOSE_CONV").inputs for d in (data, narrow(data, bits)[0]))
    real = [t.integers * t.scale.astype(np.float64) for t in (old, new)]
    assert (np.abs(real[0] - real[1]) <= 0.5 * new.scale * (1 + np.abs(new.integers) * 2.0**-20)).all()
    np.testing.assert_allclose(new.scale, scale(x) * w.scale, rtol=2.0**-22)


def test_worst_case_is_not_exceeded():
    narrowed, _ = narrow(model(), 4)
    bound = bounds(narrowed, "TRANSPOSE_CONV", 4).accumulator
    _, w, x, bias = operator(narrowed, "TRANSPOSE_CONV").inputs
    rows = w.integers.reshape(3, -1).astype(np.int64)
    extremes = [np.where(rows > 0, end, -1 - end) - x.zero for end in (127, -128)]
    sums = [np.abs((rows * values).sum(1) + bias.integers) for values in extremes]
    np.testing.assert_array_equal(bound, np.max(sums, 0))


def test_two_operators_with_the_same_weights_are_narrowed_alike():
    def again(model, graph, tensors):
        graph.operators.append(graph.operators[-1])

    narrowed, report = narrow(edited(model(), again), 2)
    assert not report.offenders
    assert len(narrowed) == len(edited(model(), again))
    first, second = (o for o in parse(narrowed).operators if o.name == "TRANSPOSE_CONV")
    assert first.inputs == second.inputs


@pytest.mark.parametrize("stride", [1, 2])
def test_statistics_are_those_of_what_the_weights_meet(stride):
    """Outputs, before rounding, are linear in the weights: their mean and variance follow from the moments."""
    b = TFLiteBuilder()
    x = b.input([1, 5, 4, 6])
    shape = b.transpose_conv(
        x, 3, stride=stride, scale=40.0, zero_point=0, weight_scale=1.0, bias=False, activation="NONE"
    )
    data = b.build(x, shape)
    (found,) = parse(data).operators
    rows = np.random.default_rng(0).integers(-128, 128, (40, 5, 4, 6)).astype(np.int8)
    inputs = [found.inputs[0].data, found.inputs[1].data, rows]
    statistics = op_for(found).statistics(found, inputs)
    weights = found.inputs[1].data.reshape(3, -1).astype(np.float64)
    outputs = (
        simulate(data, rows, "narrow", 31).outputs[0].astype(np.float64) * 40 / scale(peer.operators(data)[0].inputs[2])
    )
    np.testing.assert_allclose(weights @ statistics.mean, outputs.mean((0, 1, 2)), atol=0.05 * outputs.std())
    variance = np.einsum("ci,ij,cj->c", weights, statistics.covariance, weights)
    np.testing.assert_allclose(variance, outputs.var((0, 1, 2)), rtol=0.05)
