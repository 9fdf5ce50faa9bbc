# SPDX-License-Identifier: Apache-2.0
"""What every operator gets by default."""

import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import ModelError, narrow

SHAPE = (2, 4, 4, 3)


@pytest.mark.parametrize("op", ["CUSTOM:strange", "CUMSUM", "STABLEHLO_ADD"])
def test_unknown_operators_are_reported_and_pinned(op):
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.conv(x, 3, name="before")
    z = b.add(b.unknown(y, op=op), b.constant([1]))
    data = b.build(x, b.conv(z, 2, name="last"))
    narrowed, report = narrow(data, 2)
    (row,) = [row for row in report.rows if row.op == op]
    assert (row.narrow, row.reason, row.bits_after) == (False, f"{op} is not supported yet", None)
    assert row.label.endswith("(unknown)")
    for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
        assert old.name not in ("before", "unknown") or old.scale == new.scale


@pytest.mark.parametrize("op", ["CUSTOM:edgetpu-custom-op", "CUSTOM:ethos-u"])
def test_what_a_compiler_made_is_told_to_be_narrowed_before(op):
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    with pytest.raises(ModelError, match="compiled for an accelerator; narrow the model before compiling it"):
        narrow(b.build(x, b.unknown(x, op=op)), 2)
