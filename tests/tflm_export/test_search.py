# SPDX-License-Identifier: Apache-2.0
"""The search for the narrowest setting: within the tolerance, and minimal as far as it looks."""

import json

import numpy as np
import pytest

from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, narrow
from tflm_export.__main__ import main
from tflm_export.compare import compare
from tflm_export.flatbuffer.model import parse
from tflm_export.search import UNIFORM, search
from tflm_export.simulator import simulate

NETWORK = residual_network(seed=1, batch=1)


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, 8, 8, 3), np.int8)


TRAIN, TEST = {"input": rows(24)}, [rows(60, seed=1)]


def lost(data: bytes) -> float:
    return compare(parse(NETWORK), parse(data), TEST).drop


@pytest.mark.parametrize("max_drop", [0.02, 0.1, 1.0])
def test_the_result_is_within_the_tolerance_and_reproducible(max_drop):
    tried = []
    found = search(NETWORK, "requantize", TRAIN, TEST, max_drop, lambda: tried.append(1))
    assert lost(found.data) <= max_drop
    assert found.agreement.drop == lost(found.data)
    assert len(tried) == found.tried
    widest = max(found.rules.values())
    assert narrow(NETWORK, widest, "requantize", TRAIN, found.rules)[0] == found.data
    for bits in UNIFORM[: UNIFORM.index(widest)]:
        assert lost(narrow(NETWORK, bits, "requantize", TRAIN)[0]) > max_drop
    for row in found.report.rows:
        assert row.bits == found.rules[row.index]


def test_any_drop_allows_pure_shifts():
    assert set(search(NETWORK, "requantize", TRAIN, TEST, 1.0).rules.values()) == {1}


def two_heads() -> bytes:
    """A first output without a rescale, which narrowing cannot change, and a second that it changes."""
    b = TFLiteBuilder(seed=3)
    x = b.input([1, 8, 8, 3])
    features = b.flatten(b.conv(x, 8, name="stem"))
    return b.build(x, [b.softmax(b.flatten(x)), b.fully_connected(features, 10, name="unsure")])


def test_the_tolerance_holds_for_each_output():
    network = two_heads()
    found = search(network, "keep", TRAIN, TEST, 0.02)
    stock, narrowed = (simulate(data, TEST, "tflm").outputs for data in (network, found.data))
    agreeing = [np.mean(a.argmax(1) == b.argmax(1)) for a, b in zip(stock, narrowed, strict=True)]
    assert agreeing[0] == 1
    assert agreeing[1] >= 0.98
    assert found.agreement.top1 == agreeing[1]
    assert "unsure" in found.agreement.output
    assert max(found.rules.values()) > 1  # the first output alone would allow pure shifts
    shifts = simulate(narrow(network, 1, "keep", TRAIN)[0], TEST, "tflm").outputs
    assert [np.mean(a.argmax(1) == b.argmax(1)) >= 0.98 for a, b in zip(stock, shifts, strict=True)] == [True, False]


def test_a_tolerance_out_of_reach():
    with pytest.raises(ModelError, match=r"no width up to 16 bits is within -0\.01: \d+ bits?.* drop"):
        search(NETWORK, "requantize", TRAIN, TEST, -0.01)


def test_on_the_command_line(tmp_path, capsys):
    model, data, report = tmp_path / "model.tflite", tmp_path / "data.npz", tmp_path / "report.json"
    model.write_bytes(NETWORK)
    np.savez(data, x=rows(80))
    flags = ["--search", "--max_drop=0.2", f"--calibration={data}", f"--report={report}"]
    assert main(["tflm_export", *flags, str(model)]) == 0
    printed = capsys.readouterr().out
    assert "for --bits_config: {" in printed
    assert "on 20 rows" in printed
    assert "note: " not in printed
    assert main(["tflm_export", *flags, "--max_drop=0.04", "--overwrite", str(model)]) == 0
    assert "note: --max_drop 0.04 is less than one of the 20 rows that measure" in capsys.readouterr().out
    assert (tmp_path / "model_searched.tflite").is_file()
    assert json.loads(report.read_text())["rows"]
    for flags, words in (
        (["--search"], "pass --calibration"),
        (["--search", "--max_drop=-1", f"--calibration={data}"], "--max_drop must not be negative"),
        (["--search", "--bits=4"], "--search chooses the bits"),
        (["--search", "--check"], "--check reads the model as it is and writes none; leave out --search"),
    ):
        assert main(["tflm_export", *flags, "--overwrite", str(model)]) == 2
        assert words in capsys.readouterr().err


def deep() -> bytes:
    """Twelve residual branches, each added to what came before, with scales far from powers of two."""
    b = TFLiteBuilder(seed=2)
    x = b.input([1, 8, 8, 3])
    y = b.conv(x, 8, name="stem")
    for i in range(12):
        branch = b.conv(b.conv(y, 8, 1, activation="RELU", zero_point=-128), 8, 3, scale=0.0529 * 1.19**i)
        y = b.add(y, branch, scale=0.0531 * 1.13**i, name=f"add{i}")
    return b.build(x, b.conv(y, 4, name="map"))  # no classes: relative change counts


@pytest.mark.slow
def test_additions_alone_are_widened_before_everything_is():
    network = deep()
    stock = parse(network)
    drops = [
        compare(stock, parse(narrow(network, 1, "requantize", TRAIN, rules)[0]), TEST).drop
        for rules in ({}, {"op:ADD|SUB": 8})
    ]
    assert drops[1] < 0.8 * drops[0]
    found = search(network, "requantize", TRAIN, TEST, drops[1])
    names = {o.index: o.name for o in stock.operators}
    assert found.agreement.drop <= drops[1]
    assert {bits for index, bits in found.rules.items() if names[index] != "ADD"} == {1}
    assert 8 in {bits for index, bits in found.rules.items() if names[index] == "ADD"} <= {1, 8}
