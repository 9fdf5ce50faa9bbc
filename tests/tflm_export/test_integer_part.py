# SPDX-License-Identifier: Apache-2.0
"""The part of a model between operators without an integer form: what stays, what goes in and what comes out."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.programs import Compiled
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import ModelError, c
from tflm_export.arithmetic import Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.integer_part import integer_part
from tflm_export.simulator import simulate


def strange(b, x: int, name: str) -> int:
    """An operator that has no integer form."""
    y = b.tensor(name, b.shape(x), type="FLOAT32")
    b.operator("CUSTOM:strange", [x], [y])
    return y


def real(b, x: int, name: str) -> int:
    y = b.tensor(name, b.shape(x), type="FLOAT32")
    b.operator("DEQUANTIZE", [x], [y])
    return y


def between() -> bytes:
    """Two operators that are not known in front, two behind, one of which gives two outputs' inputs."""
    b = TFLiteBuilder(3)
    x, other = b.input([1, 4, 4, 2], name="x", type="FLOAT32"), b.input([1, 4, 4, 2], name="other")
    framed = strange(b, strange(b, x, "first"), "second")
    quantized = b.quantize(framed, name="quantized")
    total = b.add(quantized, other, name="total")
    scores = b.conv(total, 3, name="scores")
    last = strange(b, strange(b, real(b, scores, "real"), "third"), "fourth")
    return b.build([x, other], [last, total])


def names(tensors) -> list[str]:
    return [tensor.name for tensor in tensors]


def test_both_ends_go():
    model, gone = integer_part(parse(between()))
    assert [operator.outputs[0].name for operator in gone] == ["first", "second", "third", "fourth"]
    main = model.subgraphs[0]
    assert [operator.outputs[0].name for operator in main.operators] == ["quantized", "total", "scores", "real"]
    assert (names(main.inputs), names(main.outputs)) == (["other", "second"], ["total", "real"])


def test_what_has_an_integer_form_stays():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    model = parse(b.build(x, b.conv(x, 3)))
    assert integer_part(model) == (model, ())


def test_the_middle_stays():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.quantize(strange(b, real(b, b.conv(x, 3), "real"), "middle"))
    model = parse(b.build(x, y))
    assert integer_part(model) == (model, ())
    with pytest.raises(ModelError, match="CUSTOM:strange"):
        c.translate(b.build(x, y), "m", Tflm(), has_integer_borders=True)


def test_nothing_but_unknown_operators():
    b = TFLiteBuilder()
    x = b.input([1, 4], type="FLOAT32")
    model = parse(b.build(x, strange(b, x, "all")))
    assert integer_part(model) == (model, ())


@native.requires_gcc
def test_c_of_what_is_left():
    """Equal to the simulator on the model that it is."""
    program = c.translate(between(), "m", Tflm(), has_integer_borders=True)
    assert [label.split(" (")[0] for label in program.left] == [f"operator {i} CUSTOM:strange" for i in (0, 1, 6, 7)]
    assert [(v.name, v.dtype.name) for v in program.inputs] == [("other", "int8"), ("second", "int8")]
    assert [(v.name, v.dtype.name) for v in program.outputs] == [("total", "int8"), ("real", "int8")]
    b = TFLiteBuilder(3)
    quantized, other = b.input([1, 4, 4, 2], scale=0.0473, zero_point=11), b.input([1, 4, 4, 2], name="other")
    total = b.add(quantized, other, name="total")
    data = b.build([other, quantized], [total, b.conv(total, 3, name="scores")])
    inputs = [np.random.default_rng(i).integers(-128, 128, (1, 4, 4, 2)).astype(np.int8) for i in range(2)]
    for found, wanted in zip(
        Compiled(program).start().invoke(*inputs), simulate(data, inputs, "tflm").outputs, strict=True
    ):
        np.testing.assert_array_equal(found, wanted.reshape(found.shape))
