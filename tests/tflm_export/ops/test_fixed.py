# SPDX-License-Identifier: Apache-2.0
"""Operators that take any input scale: their output is pinned, and they are no rescale."""

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import narrow


def test_fixed_functions_pin_their_output_alone():
    b = TFLiteBuilder()
    x = b.input((3, 20))
    y = b.fully_connected(x, 5)
    data = b.build(x, b.softmax(y))
    narrowed, report = narrow(data, 1)
    assert [row.op for row in report.rows] == ["FULLY_CONNECTED"]
    old, new = ({t.name: t for t in peer.tensors(d)} for d in (data, narrowed))
    assert old["softmax"].scale == new["softmax"].scale
    assert old["dense"].scale < new["dense"].scale
