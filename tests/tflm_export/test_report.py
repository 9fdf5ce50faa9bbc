"""The report as a table and as JSON."""

import dataclasses
import json

import pytest

from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import check, narrow
from tflm_export.report import Report, Row


def test_offenders_and_width():
    rows = (
        Row(0, 0, "CONV_2D", "a", 4, 3, 31, 2, True),
        Row(0, 1, "ADD", "b", 4, 2, 31, 31, False, reason="bound"),
        Row(1, 0, "MUL", "c", 4, reason="not supported"),
    )
    report = Report(4, "requantize", rows)
    assert report.offenders == rows[1:]
    assert report.max_bits == 31


@pytest.mark.parametrize("make", [lambda: narrow(residual_network(), 3)[1], lambda: check(residual_network(), 3)])
def test_json_holds_every_field(make):
    report = make()
    loaded = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (loaded["bits"], loaded["method"], loaded["max_bits"]) == (3, report.method, report.max_bits)
    for row, original in zip(loaded["rows"], report.rows, strict=True):
        assert row == {field.name: getattr(original, field.name) for field in dataclasses.fields(Row)}


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
