# SPDX-License-Identifier: Apache-2.0
"""Passes over programs: every value that is left is what it was, and what they are for is gone."""

import numpy as np
import pytest

from tests.helpers import corpus
from tests.helpers.runtimes import random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, narrow
from tflm_export.arithmetic import LiteRTReference, Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import lower
from tflm_export.program import passes
from tflm_export.program.move import Move
from tflm_export.program.program import Program
from tflm_export.program.weighted_sum import WeightedSum

ARITHMETICS = (Narrow(), Tflm(), LiteRTReference())
ALL = (passes.fold_constants, passes.remove_identities, passes.fuse_pads, passes.remove_unused, passes.simplified)


def run(program: Program, data: bytes, rows: int = 3, seed: int = 0) -> dict:
    tensors = parse(data).subgraphs[0].inputs
    arrays = zip(*random_rows(parse(data), rows, seed), strict=True)
    return program.run([np.stack(a).reshape(-1, *t.shape) for a, t in zip(arrays, tensors, strict=True)])


def assert_exact(data: bytes, one, arithmetic) -> Program:
    """The program after the pass; its outputs, and all it still computes, are those of the program before."""
    before = lower(parse(data), arithmetic)
    after = one(before)
    expected, found = run(before, data), run(after, data)
    assert {value.key for value in before.main.outputs} <= found.keys()
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key])
    return after


def names(program: Program) -> list[str]:
    return [step.origin.name for step in program.main.steps]


def shape_arithmetic() -> bytes:
    """RESHAPE to [rows, -1], the rows from SHAPE, STRIDED_SLICE and PACK, as converters write it."""
    b = TFLiteBuilder()
    x = b.input([2, 4, 4, 3])
    integers = {"scale": None, "zero_point": None, "type": "INT32"}
    shape = b.tensor("shape", [4], **integers)
    b.operator("SHAPE", [x], [shape], out_type="INT32")
    begin, end, step = (
        b.tensor(n, [1], data=np.array([v], np.int32), **integers) for n, v in zip("abc", (0, 1, 1), strict=True)
    )
    rows = b.tensor("rows", [], **integers)
    b.operator("STRIDED_SLICE", [shape, begin, end, step], [rows], shrinkAxisMask=1)
    rest = b.tensor("rest", [], data=np.array(-1, np.int32), **integers)
    wanted = b.tensor("wanted", [2], **integers)
    b.operator("PACK", [rows, rest], [wanted], valuesCount=2)
    y = b.tensor("flat", [2, 48], scale=b.scale(x), zero_point=b.zero_point(x))
    b.operator("RESHAPE", [x, wanted], [y])
    return b.build(x, b.fully_connected(y, 5))


def padded(kernel: int, stride: int, border, fill: int | None, padding: str = "VALID") -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 6, 7, 4], zero_point=-5)
    ends = b.tensor("border", [4, 2], data=np.array(border, np.int32), scale=None, zero_point=None, type="INT32")
    shape = [n + before + after for n, (before, after) in zip(b.shape(x), border, strict=True)]
    inputs = [x, ends]
    if fill is not None:
        inputs.append(b.tensor("fill", [1], data=np.array([fill], np.int8), scale=b.scale(x), zero_point=-5))
    y = b.tensor("padded", shape, scale=b.scale(x), zero_point=-5)
    b.operator("PAD" if fill is None else "PADV2", inputs, [y])
    return b.build(x, b.conv(y, 6, kernel=kernel, stride=stride, padding=padding))


@pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("one", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("data", [residual_network(), shape_arithmetic()], ids=["residual", "shapes"])
def test_what_is_left_is_what_it_was(data, one, arithmetic):
    assert_exact(data, one, arithmetic)


def test_arithmetic_on_shapes_is_gone():
    program = assert_exact(shape_arithmetic(), passes.simplified, Tflm())
    assert names(program) == ["RESHAPE", "FULLY_CONNECTED"]


BORDERS = [
    pytest.param(3, 2, [(0, 0), (0, 1), (0, 1), (0, 0)], None, True, id="as converters write it"),
    pytest.param(3, 1, [(0, 0), (1, 1), (1, 1), (0, 0)], -5, True, id="the zero point by name"),
    pytest.param(5, 3, [(0, 0), (4, 0), (2, 3), (0, 0)], None, True, id="unequal"),
    pytest.param(3, 1, [(0, 0), (1, 1), (1, 1), (0, 0)], 7, False, id="another integer"),
    pytest.param(3, 1, [(0, 0), (1, 1), (1, 1), (0, 1)], None, False, id="channels"),
    pytest.param(2, 1, [(0, 0), (3, 0), (0, 0), (0, 0)], None, False, id="windows outside the image"),
    pytest.param(1, 1, [(0, 0), (0, 0), (1, 0), (0, 0)], None, False, id="pointwise"),
    pytest.param(2, 1, [(0, 0), (0, 2), (0, 0), (0, 0)], None, False, id="windows behind the image"),
]


@pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("kernel", "stride", "border", "fill", "fuses"), BORDERS)
def test_borders_of_the_zero_point_are_the_convolutions(kernel, stride, border, fill, fuses, arithmetic):
    program = assert_exact(padded(kernel, stride, border, fill), passes.fuse_pads, arithmetic)
    assert [type(step.form) for step in program.main.steps] == ([WeightedSum] if fuses else [Move, WeightedSum])


def test_a_border_that_others_read_stays():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    ends = b.tensor("border", [4, 2], data=np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32), scale=None,
                    zero_point=None, type="INT32")  # fmt: skip
    y = b.tensor("padded", [1, 6, 6, 2], scale=b.scale(x), zero_point=b.zero_point(x))
    b.operator("PAD", [x, ends], [y])
    data = b.build(x, [b.conv(y, 3, padding="VALID"), y])
    assert names(assert_exact(data, passes.simplified, Narrow())) == ["PAD", "CONV_2D"]


def test_identities_go_and_outputs_stay():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    once = b.reshape(x, [1, 4, 4, 2])
    again = b.reshape(b.conv(once, 3), [1, 4, 4, 3], name="last")
    program = assert_exact(b.build(x, again), passes.remove_identities, Narrow())
    assert names(program) == ["CONV_2D", "RESHAPE"]


def test_positions_outside_a_constant_are_damage():
    b = TFLiteBuilder()
    x = b.input([1, 3])
    integers = {"scale": None, "zero_point": None, "type": "INT32"}
    table = b.tensor("table", [2], data=np.array([1, 2], np.int32), **integers)
    position = b.tensor("position", [1], data=np.array([7], np.int32), **integers)
    found = b.tensor("found", [1], **integers)
    b.operator("GATHER", [table, position], [found])
    program = lower(parse(b.build(x, b.fully_connected(x, 2))), Tflm())
    with pytest.raises(ModelError, match=r"operator 0 GATHER \(found\) cannot run: positions 7 to 7"):
        passes.fold_constants(program)


REAL = (
    "baselines/fsdd_int8",
    "models/tinyengine__vww",
    "models/tiny__kws_ref_model",
    "models/micro-wake-word-models__okay_nabu",
    "models/tflite-micro__dtln_noise_suppression",
)


@pytest.mark.parametrize("name", REAL)
def test_corpus_models_are_what_they_were(name):
    data = narrow(corpus.read(name), 4)[0]
    simple = assert_exact(data, passes.simplified, Narrow())
    assert len(simple.main.steps) <= len(lower(parse(data), Narrow()).main.steps)


def test_integers_at_the_borders():
    """Where nothing else reads an input, and an output is an integer's real number."""
    b = TFLiteBuilder(4)
    first, second = b.input([1, 4, 4, 2], name="first", type="FLOAT32"), b.input([1, 5], name="second", type="FLOAT32")
    quantized = b.quantize(first, name="quantized")
    total = b.conv(quantized, 3, name="conv")
    real = b.tensor("real", b.shape(total), type="FLOAT32")
    b.operator("DEQUANTIZE", [total], [real])
    data = b.build([first, second], [real, second, total])
    before = passes.simplified(lower(parse(data), Narrow()))
    after = passes.integer_borders(before)
    assert [(x.name, x.dtype.name) for x in after.main.inputs] == [("first", "int8"), ("second", "float32")]
    assert after.main.inputs[0].scale == b.scale(quantized)
    assert [(y.name, y.dtype.name) for y in after.main.outputs] == [
        ("real", "int8"),
        ("second", "float32"),
        ("conv", "int8"),
    ]
    assert names(after) == ["CONV_2D"]
    reals = [np.random.default_rng(0).normal(0, 1, (3, *x.shape)).astype(np.float32) for x in before.main.inputs]
    expected = before.run(reals)
    (middle,) = (step.form.output for step in before.main.steps if step.origin.name == "QUANTIZE")
    found = after.run([expected[middle.key], reals[1]])
    keys = [value.key for value in after.main.outputs]
    np.testing.assert_array_equal(found[keys[0]], found[keys[2]])
    for key in keys[1:]:
        np.testing.assert_array_equal(found[key], expected[key])
