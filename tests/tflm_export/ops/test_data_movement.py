# SPDX-License-Identifier: Apache-2.0
"""Operators that carry integers over: one scale on both sides, before and after."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import WIDTHS, edited
from tflm_export import METHODS, ModelError, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.ops import op_for

SHAPE = (2, 4, 4, 3)


def moved(kind: str) -> bytes:
    """conv -> data movement -> add: the addition moves the scale of all in between."""
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.conv(x, 4, name="before")
    if kind in ("MAX", "AVERAGE"):
        after = b.pool(y, kind, name="after")
    elif kind == "reshape":
        after = b.reshape(y, [2, 8, 8, 1], name="after")
    else:
        after = b.concat([y, b.conv(x, 2, name="before2", scale=b.scale(y), zero_point=b.zero_point(y))], name="after")
    z = b.add(after, b.constant([1]), scale=0.0741)
    return b.build(x, z)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "reshape", "concat"])
def test_scales_stay_equal_on_both_sides(kind, bits, method):
    data = moved(kind)
    narrowed, report = narrow(data, bits, method)
    assert not report.offenders
    old, new = ({t.name: t for t in peer.tensors(d)} for d in (data, narrowed))
    assert old["before"].scale != new["before"].scale
    tied = [name for name in new if name in ("before", "before2", "after")]
    assert len({new[name].scale.tobytes() for name in tied}) == 1
    add = next(o for o in peer.operators(narrowed) if o.name == "ADD")
    assert max(peer.off_grid(f, bits) for f in add.factors) < 2.0**-22


def test_data_movement_has_no_rescale():
    data = moved("concat")
    for operator in parse(data).operators:
        if operator.name == "CONCATENATION":
            assert op_for(operator).factors(operator) is None
    assert "CONCATENATION" not in [row.op for row in narrow(data, 4)[1].rows]


def unequal_concat(b: TFLiteBuilder, x: int) -> int:
    parts = [b.conv(x, 2, name=f"part{i}", scale=0.03 + 0.01 * i) for i in range(2)]
    return b.concat(parts, name="joined")


def test_unequal_concatenation_is_reported_and_pinned():
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = unequal_concat(b, x)
    data = b.build(x, b.add(y, b.constant([1])))
    narrowed, report = narrow(data, 2)
    (row,) = [row for row in report.rows if row.op == "CONCATENATION"]
    assert row.label.endswith("(joined)")
    assert "unequal scales" in row.reason
    for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
        assert old.name not in ("part0", "part1", "joined") or old.scale == new.scale


def test_alone_it_is_an_error():
    b = TFLiteBuilder()
    x, z = b.input(SHAPE), b.input(SHAPE, name="z", scale=0.01)
    with pytest.raises(ModelError, match=r"no rescale .*CONCATENATION \(concat\): .*unequal scales"):
        narrow(b.build([x, z], b.concat([x, z])), 2)


def test_pools_that_do_rescale_are_pinned():
    """Where a file breaks the rule of one scale, its tensors stay as they are."""

    def change(model, graph, tensors):
        tensors["after"].quantization.scale = np.array([0.09], np.float32)

    data = edited(moved("MAX"), change)
    narrowed, _ = narrow(data, 1)
    for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
        assert old.name not in ("before", "after") or old.scale == new.scale
