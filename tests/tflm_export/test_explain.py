# SPDX-License-Identifier: Apache-2.0
"""The explanation names every rescale, and its integers are the file's."""

import re

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, narrow
from tflm_export.explain import explain

NETWORK = residual_network()


@pytest.mark.parametrize("bits", [1, 4])
def test_each_rescale_has_its_formula(bits):
    narrowed, report = narrow(NETWORK, bits)
    legend, *text = explain(narrowed).splitlines()
    assert ">> rounds" in legend
    operators = dict(enumerate(peer.subgraphs(narrowed)[0].operators))
    assert len(text) == 2 * len(report.rows)
    for row, title, formula in zip(report.rows, text[::2], text[1::2], strict=True):
        operator = operators[row.index]
        assert title == f"{row.index} {row.op} ({operator.outputs[0].name})"
        assert formula.lstrip().startswith(f"y = {operator.outputs[0].zero} + ")
        pairs = [peer.nearest(f, row.bits_after) for f in operator.factors]
        shown = formula.split(" + ", 1)[1].split("    ")[0]
        assert ("*" in shown) == (row.bits_after > 1)
        if ".." in shown:
            span = re.search(r">> (\d+)(?:\.\.(\d+))?\)$", shown)
            shifts = {shift for _, shift in pairs}
            assert (int(span[1]), int(span[2] or span[1])) == (min(shifts), max(shifts))
        else:  # evaluated as Python, whose >> rounds down
            integers = {"a": 1 << 20, "b": 1 << 30, "acc": 1 << 20}
            terms = zip(integers.values(), pairs if row.op == "ADD" else pairs[:1], strict=False)
            assert eval(shown, {}, integers) == sum((x << 40) * m >> (40 + shift) for x, (m, shift) in terms)


def mean_of_eights(scale: float) -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2], scale=0.5, zero_point=0)
    return b.build(x, b.mean(x, scale=scale, zero_point=3))


@pytest.mark.parametrize(("scale", "formula"), [(0.0625, "(acc << 3)"), (0.5, "acc"), (2.0, "(acc >> 2)")])
def test_a_shift_to_the_left_is_written_as_one(scale, formula):
    assert f"    y = 3 + {formula}    1 factor of 1 bit" in explain(mean_of_eights(scale))


def test_factors_that_differ_by_a_float32_rounding_look_like_one():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2], scale=1.0, zero_point=0)
    scales = np.nextafter(np.float32(2.0**-7), np.float32([0, 1]))  # a rounding below, and one above
    text = explain(b.build(x, b.conv(x, 2, scale=1.0, zero_point=3, weight_scale=scales)))
    assert "y = 3 + (acc >> 7)    2 factors of 1 bit, M = 0.007812\n" in f"{text}\n"


def test_long_names_are_cut_and_lines_fit():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    text = explain(b.build(x, b.conv(x, 3, name="model/batch_normalization/FusedBatchNormV3;" * 5))).splitlines()
    assert text[1].endswith("...)")
    assert len(text[1]) < 80


def test_a_model_without_rescales_is_an_error():
    with pytest.raises(ModelError, match="empty"):
        explain(b"")
