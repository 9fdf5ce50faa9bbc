# SPDX-License-Identifier: Apache-2.0
"""MEAN: factor Sx/Sy; sum and division are the operator's own."""

import numpy as np
import pytest

from tests.helpers import exact, peer
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.helpers.weighted import WIDTHS, bounds, edited, operator, random_input
from tflm_export import METHODS, ModelError, check, narrow

SHAPE = (6, 5, 7, 3)


def behind_a_layer() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    return b.build(x, b.mean(b.conv(x, 4, zero_point=-128, activation="RELU")))


def of_the_input() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    return b.build(x, b.fully_connected(b.mean(x), 3))


MODELS = {"layer": behind_a_layer(), "input": of_the_input()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", MODELS)
def test_the_factor_lands_on_the_grid(name, bits, method):
    narrowed, report = narrow(MODELS[name], bits, method)
    (factor,) = operator(narrowed, "MEAN").factors
    assert peer.off_grid(factor, bits) < 2.0**-22
    assert report.offenders == check(narrowed, bits).offenders == ()


@pytest.mark.parametrize("runtime", exact.RUNTIMES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", MODELS)
def test_runtimes_compute_the_narrow_arithmetic(name, bits, method, runtime):
    narrowed, _ = narrow(MODELS[name], bits, method)
    (mean,) = [c for c in exact.compare(narrowed, random_input(SHAPE), bits, runtime) if c.operator.name == "MEAN"]
    assert mean.exact.std() > 5
    assert np.abs(mean.runtime - mean.exact).max() <= 1


@pytest.mark.parametrize("bits", WIDTHS)
def test_worst_case_is_the_sum_of_the_farthest_inputs(bits):
    narrowed, report = narrow(MODELS["input"], bits)
    found = operator(narrowed, "MEAN")
    x = found.inputs[0]
    sums = [np.full(SHAPE[1:3], value - x.zero, np.int64).sum() for value in (-128, 127)]
    bound = bounds(narrowed, "MEAN", bits)
    assert bound.accumulator == np.abs(sums).max()
    (m,), (s,) = exact.multipliers(found, bits)
    half = 2.0 ** (int(s) - 1) if s > 0 else 0
    assert np.abs(sums).max() * int(m) + half <= bound.product
    (row,) = [row for row in report.rows if row.op == "MEAN"]
    assert row.accumulator == np.abs(sums).max()


def test_uint8_is_reported_by_tensor():
    def change(model, graph, tensors):
        tensors["mean"].type = schema.TensorType.UINT8

    _, report = narrow(edited(behind_a_layer(), change), 2)
    (row,) = report.offenders
    assert row.op == "MEAN"
    assert "(mean) is UINT8" in row.reason


def test_without_inputs_the_file_is_damaged():
    def change(model, graph, tensors):
        graph.operators[-1].inputs = []

    with pytest.raises(ModelError, match=r"operator 1 MEAN \(mean\) lacks inputs"):
        narrow(edited(behind_a_layer(), change), 2)
