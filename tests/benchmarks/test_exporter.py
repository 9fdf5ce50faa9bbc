# SPDX-License-Identifier: Apache-2.0
"""The peer of the exporter's speed benchmark makes the edit that it is said to make."""

import pytest

pytest.importorskip("tflite_micro", reason="the benchmark takes the schema's object API from the tflite-micro wheel")

from benchmarks.exporter import changed_scales, synthetic, through_objects
from tests.helpers.tflite_builder import residual_network
from tflm_export import check, narrow
from tflm_export.flatbuffer.model import parse


@pytest.mark.parametrize("data", [residual_network(), synthetic(2)], ids=["residual", "synthetic"])
def test_the_peer_lands_on_the_grid(data):
    narrowed, _ = narrow(data, 1)
    scales = changed_scales(data, narrowed)
    assert scales
    peer = through_objects(data, scales)
    assert check(peer, 1).offenders == ()
    assert not changed_scales(peer, narrowed)
    for mine, other, stock in zip(*(parse(d).tensors for d in (narrowed, peer, data)), strict=True):
        if mine.type == "INT8" and mine.is_constant and (mine.data != stock.data).any():
            assert abs(mine.data.astype(int) - other.data).max() <= 2  # two roundings of one number


def test_without_scales_nothing_changes():
    data = synthetic(1)
    assert not changed_scales(data, through_objects(data, {}))
