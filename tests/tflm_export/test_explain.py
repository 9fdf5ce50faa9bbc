"""The explanation names every rescale, and its integers are the file's."""

import re

import peer
import pytest

from tests.tflite_builder import residual_network
from tflm_export import ModelError, narrow
from tflm_export.explain import explain

NETWORK = residual_network()


@pytest.mark.parametrize("bits", [1, 4])
def test_each_rescale_has_its_formula(bits):
    narrowed, report = narrow(NETWORK, bits)
    text = explain(narrowed).splitlines()
    operators = dict(enumerate(peer.subgraphs(narrowed)[0].operators))
    assert len(text) == 2 * len(report.rows)
    for row, title, formula in zip(report.rows, text[::2], text[1::2], strict=True):
        assert title.startswith(f"{row.index} {row.op} ")
        shifts = {shift for _, shift in (peer.nearest(f, row.bits_after) for f in operators[row.index].factors)}
        shown = re.search(r">> (-?\d+)(?:\.\.(-?\d+))?\)", formula)
        low, high = int(shown[1]), int(shown[2] or shown[1])
        assert (low, high) == (min(shifts), max(shifts))
        assert formula.lstrip().startswith(f"y = {operators[row.index].outputs[0].zero} + ")
        assert ("*" in formula) == (row.bits_after > 1)


def test_a_model_without_rescales_is_an_error():
    with pytest.raises(ModelError, match="empty"):
        explain(b"")
