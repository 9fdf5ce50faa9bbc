# SPDX-License-Identifier: Apache-2.0
"""MAXIMUM, MINIMUM, REDUCE_MAX and REDUCE_MIN: one scale, or no rescale at all."""

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.operators import A, activation, indices, one_operator
from tests.helpers.runtimes import LAYERS, differences, random_rows
from tests.helpers.simulated import BOTH, LITERT, SimulatedTests
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import WIDTHS
from tflm_export import METHODS, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate, unsupported


def reduced(op, axes, shape, x=A, keep=False, **changes) -> bytes:
    return one_operator(
        op, [x, indices(axes)], {**x, "shape": list(shape), **changes}, 2, "ReducerOptions", keepDims=keep
    )


U, S = activation(0.031, 121, type="UINT8"), activation(0.0031, 0, type="INT16")


class TestReduce(SimulatedTests):
    models = {  # noqa: RUF012
        "largest": (reduced("REDUCE_MAX", [1, 2], (1, 4)), BOTH),
        "smallest, kept": (reduced("REDUCE_MIN", [-1], (1, 6, 6, 1), keep=True), BOTH),
        "rows": (reduced("REDUCE_MAX", [0, 1], (6, 4)), BOTH),
        "uint8": (reduced("REDUCE_MIN", [2], (1, 6, 4), U), LITERT),
        "int16": (reduced("REDUCE_MAX", [2], (1, 6, 4), S), LITERT),
    }


@pytest.mark.parametrize("runtime", BOTH)
def test_runtimes_refuse_to_reduce_to_another_scale(runtime):
    data = reduced("REDUCE_MAX", [1, 2], (1, 4), scale=0.04)
    assert "neither LiteRT's nor TFLM's" in unsupported(data)[0]
    with pytest.raises((RuntimeError, ValueError)):
        LAYERS[runtime](data, random_rows(parse(data), 1))


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
def test_runtimes_compare_integers_whatever_their_scales(op, runtime):
    data = one_operator(op, [A, activation(0.047, 12)], activation(0.04, 3), 2, "MaximumMinimumOptions")
    assert not differences(data, random_rows(parse(data), 3), runtime)


def unequal(op) -> tuple[bytes, str]:
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    part = b.conv(x, 2, name="part")
    if op.startswith("REDUCE"):
        y = b.tensor("result", [1, 6, 1, 2], scale=0.04, zero_point=2)
        b.operator(op, [part, b.tensor("axes", [1], type="INT32", data=[2])], [y], 2, keepDims=True)
    else:
        y = b.derived(op, [part, b.conv(x, 2, name="part2", scale=0.03)], name="result", scale=0.04, zero_point=2)
    return b.build(x, b.conv(y, 2))


@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_unequal_scales_are_reported_and_stay(op):
    data = unequal(op)
    narrowed, report = narrow(data, 2)
    (row,) = [row for row in report.rows if row.op == op]
    assert ("neither LiteRT's" if op.startswith("REDUCE") else "without a rescale") in row.reason
    for old, new in zip(peer.tensors(data), peer.tensors(narrowed), strict=True):
        assert old.name not in ("part", "part2", "result") or old.scale == new.scale


def clamped() -> bytes:
    """conv -> maximum with a constant -> add: the addition moves the scale of all in between."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    y = b.conv(x, 4, name="layer")
    bound = b.constant([1, 1, 1, 4], name="bound", scale=b.scale(y), zero_point=b.zero_point(y))
    options = {"name": "result", "scale": b.scale(y), "zero_point": b.zero_point(y)}
    return b.build(x, b.add(b.derived("MAXIMUM", [y, bound], **options), b.constant([1]), scale=0.0741))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_constants_follow_the_common_scale(bits, method):
    data = clamped()
    narrowed, report = narrow(data, bits, method)
    assert not report.offenders
    old, new = ({t.name: t for t in peer.tensors(d)} for d in (data, narrowed))
    assert old["layer"].scale != new["layer"].scale
    assert new["layer"].scale == new["bound"].scale == new["result"].scale
    before, after = (
        (t["bound"].integers.astype(float) - t["bound"].zero) * float(t["bound"].scale[0]) for t in (old, new)
    )
    step = float(new["bound"].scale[0])
    if method == "requantize":
        assert np.abs(after - before).max() <= 0.5001 * step
    else:
        assert old["bound"].data.tobytes() == new["bound"].data.tobytes()
    rows = random_rows(parse(data), 4)
    for runtime in BOTH:
        assert not differences(narrowed, rows, runtime)
    outputs = [
        simulate(d, [np.concatenate(column) for column in zip(*rows, strict=True)], "tflm").outputs[0].astype(float)
        for d in (data, narrowed)
    ]
    if method == "requantize":
        assert np.sqrt(np.square(outputs[1] - outputs[0]).mean()) < 0.3 * outputs[0].std()


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_common_scale_with_a_constant_never_shrinks(bits):
    """With data other scales may; the constant would be clipped."""
    data = clamped()
    rows = np.concatenate([row for (row,) in random_rows(parse(data), 20)])
    narrowed, report = narrow(data, bits, calibration={"input": rows})
    assert not report.offenders
    old, new = ({t.name: t.scale for t in peer.tensors(d)} for d in (data, narrowed))
    assert new["bound"] == new["layer"]
    assert new["bound"] >= old["bound"] * (1 - 2.0**-22)
