# SPDX-License-Identifier: Apache-2.0
"""The report as a table and as JSON."""

import dataclasses
import json

import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, unpack
from tflm_export import check, narrow
from tflm_export.grid import Grid
from tflm_export.report import Report, Row


def test_offenders_and_width():
    rows = (
        Row(0, 0, "CONV_2D", "a", Grid(4), 3, 31, 2, True),
        Row(0, 1, "ADD", "b", Grid(4), 2, 31, 31, False, reason="bound"),
        Row(1, 0, "MUL", "c", Grid(4), reason="not supported"),
    )
    report = Report(Grid(4), "requantize", rows)
    assert report.offenders == rows[1:]
    assert report.max_bits == 31


@pytest.mark.parametrize("make", [lambda: narrow(residual_network(), 3)[1], lambda: check(residual_network(), 3)])
def test_json_holds_every_field(make):
    report = make()
    loaded = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (loaded["bits"], loaded["method"], loaded["max_bits"]) == (3, report.method, report.max_bits)
    for row, original in zip(loaded["rows"], report.rows, strict=True):
        names = ["bits" if field.name == "grid" else field.name for field in dataclasses.fields(Row)]
        assert row == {"grid": "k3"} | {name: getattr(original, name) for name in names}


def test_names_and_obstacles_stand_apart_from_the_messages():
    """Whatever the names are, they are whole in `name`, and not in `obstacle`."""
    b = TFLiteBuilder()
    x = y = b.input([1, 8, 8, 2])
    names = ["what is: tensor 3 (x) is " + "long/" * 30 + end for end in ("first", "second")]
    for name in names:
        y = b.conv(y, 2, name=name)
    bound = b.add(x, x, name="the sum is: tensor 7")
    model = unpack(b.build(x, [b.conv(y, 2, name="good"), bound]))
    for tensor in model.subgraphs[0].tensors:
        if tensor.name.decode().startswith("what") and tensor.buffer and len(tensor.shape) == 4:
            tensor.quantization.zeroPoint = [1] * len(tensor.quantization.zeroPoint)
    _, report = narrow(pack(model), 1)
    assert [row.name for row in report.rows] == [*names, "the sum is: tensor 7", "good"]
    first, second, added = report.offenders
    assert first.obstacle == second.obstacle == "has a zero point other than 0"
    assert first.reason.startswith("weight tensor")
    assert "(what is: tensor 3 (x) is long" in first.reason
    assert first.reason.endswith(f" {first.obstacle}")
    assert added.obstacle == "its scales are bound on both sides by other operators or the model's border"
    assert added.reason.startswith(f"{added.obstacle}: tensor")
    assert all(row.obstacle == row.reason == "" for row in report.rows if row.narrow)


def test_table_lines_up_and_says_what_was_not_narrowed():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.unknown(b.conv(x, 3), op="CUSTOM:strange")
    _, report = narrow(b.build(x, y), 1)
    head, conv, strange = report.table().splitlines()
    assert conv.split()[:6] == ["0", "CONV_2D", "3", "31", "->", "1"]
    assert strange.split()[:2] == ["1", "CUSTOM:strange"]
    assert strange.endswith("not narrowed: CUSTOM:strange is not supported yet")
    assert head.index("bits") == conv.index("31 -> 1")
    assert head.index("op") == conv.index("CONV_2D") == strange.index("CUSTOM")
    assert not any(line != line.rstrip() for line in (head, conv, strange))


def test_additions_that_lose_most_are_named():
    """Every tensor of an addition is rounded to its own steps, with an error of S^2/12; what is added counts."""
    data = residual_network()
    narrowed, report = narrow(data, 1)
    noise = {}
    for old, new in zip(*(peer.operators(d) for d in (data, narrowed)), strict=True):
        if old.name == "ADD":
            pairs = zip((*old.inputs, *old.outputs), (*new.inputs, *new.outputs), strict=True)
            added = sum((float(b.scale[0]) ** 2 - float(a.scale[0]) ** 2) / 12 for a, b in pairs)
            noise[old.key[1]] = added**0.5 / float(old.outputs[0].scale[0])
    rows = {row.index: row for row in report.rows}
    assert {i: row.step_noise for i, row in rows.items() if row.step_noise is not None} == pytest.approx(
        noise, rel=1e-6
    )
    ranked = sorted((i for i in noise if noise[i] > 0.25), key=lambda i: -noise[i])
    assert ranked
    named = ", ".join(f"{i} ADD {noise[i]:.2f}" for i in ranked)
    line = f"coarser steps add most noise (steps, RMS) at {named}; more bits for additions: --add_bits 8"
    assert line in report.table().splitlines()
    for quiet in (narrow(data, 8)[1], narrow(data, 1, rules={"op:ADD": 8})[1], narrow(data, 1, "keep")[1]):
        assert "coarser steps" not in quiet.table()
