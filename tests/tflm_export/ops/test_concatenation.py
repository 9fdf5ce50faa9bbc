# SPDX-License-Identifier: Apache-2.0
"""CONCATENATION with unequal scales: rescaled in uint8, refused in int8, copied in int16."""

import numpy as np
import pytest

from tests.helpers import peer, runtimes
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.operators import activation, one_operator
from tests.helpers.runtimes import LAYERS, random_rows
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds
from tflm_export import narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import unsupported


def joined(b: TFLiteBuilder, parts, **options) -> int:
    shape = [*b.shape(parts[0])[:-1], sum(b.shape(t)[-1] for t in parts)]
    return b.derived("CONCATENATION", parts, shape=shape, name="joined", axis=3, **options)


def layers(ends=False) -> bytes:
    """Two layers and a copy of one of them at the output's own scale; with a layer behind, or the model's end."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3], type="UINT8", scale=0.0371, zero_point=128)
    scales = ((0.0417, 117), (0.0529, 133), (0.0611, 100))
    parts = [b.conv(x, 2, name=f"part{i}", scale=s, zero_point=z, per_channel=False) for i, (s, z) in enumerate(scales)]
    y = joined(b, parts, scale=0.0611, zero_point=100)
    return b.build(x, y if ends else b.conv(y, 3, scale=0.11, zero_point=120, per_channel=False))


def constant() -> bytes:
    """The model's input, whose scale cannot move, and a constant."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3], type="UINT8", scale=0.0371, zero_point=128)
    y = joined(b, [x, b.constant([1, 6, 6, 2], type="UINT8", scale=0.0291, zero_point=121)], scale=0.0411, zero_point=9)
    return b.build(x, b.conv(y, 3, scale=0.093, zero_point=120, per_channel=False))


class TestUnequalUint8(NarrowedTests):
    op = "CONCATENATION"
    models = {"layers": layers(), "border": layers(ends=True), "constant": constant()}  # noqa: RUF012
    change = {1: 0.3, 2: 0.2, 4: 0.1, 8: 0.05}  # noqa: RUF012
    runtimes = ("tflite",)

    def factors(self, operator):
        return [scale(tensor) / scale(operator.outputs[0]) for tensor in operator.inputs]


def test_worst_case_has_a_rounding_for_each_input():
    bound = bounds(narrow(layers(), 2)[0], "CONCATENATION", 2)
    np.testing.assert_array_equal(bound.accumulator, [138, 133, 155])


@pytest.mark.parametrize("type", ["INT8", "INT16"])
def test_other_types_do_not_rescale(type):
    """LiteRT and TFLM refuse int8 and copy int16; the report says so, and no scale moves."""
    zero = 0 if type == "INT16" else -7
    a, b = activation(0.031, zero, type=type), activation(0.047, zero, type=type)
    y = activation(0.05, zero, (1, 6, 6, 8), type)
    data = one_operator("CONCATENATION", [a, b], y, 2, "ConcatenationOptions", axis=3)
    builder = TFLiteBuilder()
    x = builder.input([1, 6, 6, 3], type=type, scale=0.01, zero_point=zero)
    parts = [builder.conv(x, 2, name=f"part{i}", scale=0.03 + 0.01 * i, zero_point=zero) for i in range(2)]
    whole = builder.build(x, builder.conv(joined(builder, parts, scale=0.05, zero_point=zero), 2, zero_point=zero))
    narrowed, report = narrow(whole, 2)
    (row,) = [row for row in report.rows if row.op == "CONCATENATION"]
    assert ("copy int16" if type == "INT16" else "LiteRT and TFLM refuse for INT8") in row.reason
    for old, new in zip(peer.tensors(whole), peer.tensors(narrowed), strict=True):
        assert old.name not in ("part0", "part1", "joined") or old.scale == new.scale
    rows = random_rows(parse(data), 2)
    for runtime, layers_of in LAYERS.items():
        if type == "INT16":
            assert not runtimes.differences(data, rows, runtime)
            (output,) = layers_of(data, rows[:1]).values()
            np.testing.assert_array_equal(output, np.concatenate(rows[0], 3))
        else:
            with pytest.raises((RuntimeError, ValueError)):
                layers_of(data, rows)
    if type == "INT8":
        assert "LiteRT and TFLM refuse for INT8" in unsupported(data)[0]


@pytest.mark.parametrize("zeros", [(128, 128, 128), (128, 3, 200)])
def test_equal_scales_of_uint8_copy_or_shift(zeros):
    a, b, y = (
        activation(0.031, z, s, "UINT8") for z, s in zip(zeros, [(1, 6, 6, 4)] * 2 + [(1, 6, 6, 8)], strict=True)
    )
    data = one_operator("CONCATENATION", [a, b], y, 2, "ConcatenationOptions", axis=3)
    assert not runtimes.differences(data, random_rows(parse(data), 3), "tflite")


def test_a_constant_without_a_scale_stays():
    """Beside one whose integers follow the scale that all the others share."""
    b = TFLiteBuilder(4)
    x = b.input([1, 6, 6, 4])
    first = b.conv(x, 4, name="first", scale=0.03, zero_point=-7)
    fixed = b.tensor("fixed", [1, 6, 6, 4], scale=0.03, zero_point=-7, data=np.full((1, 6, 6, 4), 50))
    other = b.tensor("other", [4, 2], type="INT32", data=np.arange(8).reshape(4, 2))
    y = b.tensor("y", [1, 6, 6, 8], scale=0.03, zero_point=-7)
    b.operator("CONCATENATION", [first, other, fixed], [y], axis=3)
    data = b.build(x, b.conv(y, 2, 1, name="last"))
    narrowed = narrow(data, 1, synthetic="none")[0]
    old, new = (next(o for o in parse(d).operators if o.name == "CONCATENATION").inputs for d in (data, narrowed))
    np.testing.assert_array_equal(new[1].data, old[1].data)
    assert new[0].scale == new[2].scale
    np.testing.assert_allclose(
        (new[2].data + 7.0) * new[2].scale, (old[2].data + 7.0) * old[2].scale, atol=new[2].scale / 2
    )
