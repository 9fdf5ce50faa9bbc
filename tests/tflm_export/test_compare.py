# SPDX-License-Identifier: Apache-2.0
"""Agreement figures against direct numpy."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.tflite_builder import pack, residual_network, unpack
from tflm_export import ModelError, narrow
from tflm_export.compare import Agreement, agreement, compare, worst
from tflm_export.flatbuffer.model import parse
from tflm_export.runtimes import TFLM

NETWORK = residual_network(batch=1)


def output():
    return parse(NETWORK).subgraphs[0].outputs[0]


def test_figures():
    stock = np.array([[10, 0, -10], [4, 5, 6]], np.int8)
    other = np.array([[10, 0, -10], [6, 5, 4]], np.int8)
    found = agreement(stock, other, output(), output())
    centred = stock - stock.mean(1, keepdims=True)
    relative = np.sqrt(np.mean((other - stock.astype(float)) ** 2) / np.mean(centred**2))
    assert found.rows == 2
    assert found.top1 == 0.5
    assert found.relative_change == pytest.approx(relative)
    assert found.sqnr == pytest.approx(-20 * np.log10(relative))
    assert "top-1 agreement 50.00%" in str(found)


def test_no_change_and_no_signal():
    same = np.ones((3, 4), np.int8)
    assert agreement(same, same, output(), output()).sqnr == np.inf
    assert agreement(same, same, output(), output()).relative_change == 0
    assert agreement(same, same * 2, output(), output()).relative_change == 1


def test_each_model_has_its_own_scale():
    """The same real values at a scale 1.5 times as large, as narrowing leaves a hidden layer."""
    tensor = output()
    scale = dataclasses.replace(tensor.quantization.scale, values=tensor.quantization.scale.values * np.float32(1.5))
    larger = dataclasses.replace(tensor, quantization=dataclasses.replace(tensor.quantization, scale=scale))
    stock = np.array([[-128 + 30, -128 + 60, -128 + 90]], np.int8)
    other = np.array([[-128 + 20, -128 + 40, -128 + 60]], np.int8)
    assert agreement(stock, other, tensor, larger).relative_change == pytest.approx(0, abs=1e-6)
    assert agreement(stock, other, tensor, tensor).relative_change > 0.5


CLASSES, FEW, REAL = Agreement(9, 0.986, 0.5, 6.0), Agreement(9, 0.536, 0.1, 20.0), Agreement(9, None, 0.2, 14.0)


@pytest.mark.parametrize(
    ("outputs", "found"), [((CLASSES, FEW, REAL), FEW), ((CLASSES, REAL), REAL), ((REAL, CLASSES), REAL)]
)
def test_the_worst_of_several_outputs_counts_and_is_named(outputs, found):
    named = {f"tensor {i}": output for i, output in enumerate(outputs)}
    label = f"tensor {outputs.index(found)}"
    assert worst(named) == dataclasses.replace(found, output=label)
    assert str(worst(named)) == f"{found}, of the worst output, {label}"
    assert worst({"tensor 0": found}) == found


def test_models_are_compared_as_tflm_runs_them():
    narrowed, _ = narrow(NETWORK, 1)
    inputs = np.random.default_rng(0).integers(-128, 128, (20, 8, 8, 3), np.int8)
    found = compare(parse(NETWORK), parse(narrowed), [inputs])
    runs = [TFLM(data).run(inputs) for data in (NETWORK, narrowed)]
    assert found.top1 == np.mean(runs[0].argmax(1) == runs[1].argmax(1))
    assert found.relative_change == agreement(*runs, output(), output()).relative_change


def test_a_model_without_outputs_cannot_be_compared():
    model = unpack(residual_network(batch=1))
    model.subgraphs[0].outputs = []
    stock = parse(pack(model))
    with pytest.raises(ModelError, match="the model has no outputs"):
        compare(stock, stock, [np.zeros((2, *stock.subgraphs[0].inputs[0].shape[1:]), np.int8)])


def test_one_row_in_a_hundred_is_a_hundredth():
    """Not 1 - 0.99, which is more than 0.01 in floating point: a tolerance of one row is to allow one."""
    assert Agreement(100, 0.99, 0.0, 0.0).drop == 0.01
    assert 0.99 / 300 < Agreement(300, 299 / 300, 0.0, 0.0).drop <= 1 / 300
    assert Agreement(7, 1.0, 0.0, 0.0).drop == 0
