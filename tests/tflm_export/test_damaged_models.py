# SPDX-License-Identifier: Apache-2.0
"""Well-formed files whose numbers make no sense: a ModelError from everything that computes, and no wrong memory."""

import contextlib
import tracemalloc

import numpy as np
import pytest

from tests.helpers.internals import simulate, worst_case
from tests.helpers.operators import A, B, activation, indices, one_operator
from tests.helpers.runtimes import random_rows
from tests.helpers.tflite_builder import TFLiteBuilder, pack, schema
from tflm_export import ModelError, c, check, explain, metadata, narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import lower

SMALL = activation(0.031, -7, (1, 6, 6, 2))
WEIGHTS = activation([0.02] * 3, 0, (2, 3, 3, 4), data=np.ones((2, 3, 3, 4)))  # a scale too many
CONV = {"table": "Conv2DOptions", "padding": 0, "strideW": 1, "strideH": 1}
POOL = {"table": "Pool2DOptions", "padding": 0, "strideW": 1, "strideH": 1}
ONE_SCALE = {**WEIGHTS, "scale": 0.02}


def conv(**options) -> bytes:
    return one_operator("CONV_2D", [A, ONE_SCALE], SMALL, **CONV | options)


DAMAGED = {
    "scales and channels": one_operator("CONV_2D", [A, WEIGHTS], SMALL, **CONV),
    "scale of zero": one_operator("CONV_2D", [A, ONE_SCALE], {**SMALL, "scale": 0.0}, **CONV),
    "dilation": conv(dilationWFactor=1 << 30, dilationHFactor=1 << 30),
    "window": one_operator("MAX_POOL_2D", [A], A, **POOL, filterWidth=1 << 30, filterHeight=1 << 30),
    "taps": one_operator("MAX_POOL_2D", [A], A, **POOL, filterWidth=1 << 12, filterHeight=1 << 12),
    "zero point": one_operator("PAD", [A, indices([[0, 0]] * 4)], {**A, "zero_point": -(1 << 63)}),
    "softmax to more": one_operator("SOFTMAX", [A], activation(1 / 256, -128, (1, 6, 6, 40)), table="SoftmaxOptions"),
    "lookup to more": one_operator("LOGISTIC", [A], activation(1 / 256, -128, (1, 6, 6, 40))),
    "sum of no shape": one_operator("MUL", [A, activation(0.1, 3, (1, 6, 6, 4))], activation(0.1, 3, (9, 6, 6, 4))),
    "mean to more": one_operator("MEAN", [A, indices([1, 2])], activation(0.03, 2, (1, 40))),
    "hard swish to zero": one_operator("HARD_SWISH", [A], {**B, "scale": 0.0}),
    "block of another type": one_operator("DYNAMIC_UPDATE_SLICE", [A, {**SMALL, "type": "INT16"}, indices([0] * 4)], A),
    "real positions": one_operator("DYNAMIC_UPDATE_SLICE", [A, SMALL, {"shape": [4], "type": "FLOAT32"}], A),
    "huge tensor": one_operator("TILE", [A, indices([1, 9999, 9999, 1])], activation(0.03, 1, (1, 59994, 59994, 4))),
}  # fmt: skip


@pytest.mark.parametrize("rounding", ["narrow", "tflm", "tflite"])
@pytest.mark.parametrize("name", DAMAGED)
def test_it_does_not_run(name, rounding):
    """Warnings are errors, so that none of these is computed with what numpy makes of them."""
    data = DAMAGED[name]
    with pytest.raises(ModelError, match=r"damaged|simulated"):
        simulate(data, random_rows(parse(data), 1)[0], rounding)


@pytest.mark.parametrize("arithmetic", [Narrow(), Tflm()])
@pytest.mark.parametrize("name", DAMAGED)
def test_no_c_is_written(name, arithmetic):
    with pytest.raises(ModelError):
        c.translate(DAMAGED[name], "model", arithmetic)


@pytest.mark.parametrize("name", DAMAGED)
def test_bounds_and_explanations_end_in_a_model_error_or_not_at_all(name):
    (operator,) = parse(DAMAGED[name]).operators
    for read in (lambda: worst_case(operator, 8), lambda: explain.explain(DAMAGED[name])):
        with contextlib.suppress(ModelError):
            read()


@pytest.mark.parametrize("op", ["MAXIMUM", "RELU", "PRELU", "CAST", "BATCH_MATMUL"])
def test_inputs_beyond_those_of_an_operator(op):
    """Absent ones too, which have no type."""
    b = TFLiteBuilder()
    x, y = b.input([1, 4, 4]), b.input([1, 4, 4], name="other")
    z = b.tensor("y", [1, 4, 4], scale=0.1)
    b.operator(op, [x, y, -1] if op not in ("RELU", "CAST") else [x, -1, y], [z])
    data = b.build([x, y], z)
    for run in (
        lambda: simulate(data, random_rows(parse(data), 1)[0], "tflm"),
        lambda: c.translate(data, "m", Tflm()),
    ):
        with contextlib.suppress(ModelError):
            run()


@pytest.mark.parametrize("op", ["ADD", "SUB"])
def test_inputs_beyond_the_terms_of_a_sum_are_no_part_of_it(op):
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    terms = [b.conv(x, 2, name="left"), b.conv(x, 2, 1, name="right")]
    y = b.tensor("y", [1, 4, 4, 2], scale=0.05)
    b.operator(op, terms, [y])
    two = b.build(x, y)
    b.graph.operators[-1].inputs = [*terms, b.tensor("plain", [2], type="INT32", data=np.array([1, 2], np.int32))]
    three = b.build(x, y)
    for read in (lambda d: check(d, 8), lambda d: narrow(d, 1, synthetic="none")[1]):
        found, expected = read(three).rows[2], read(two).rows[2]
        assert expected.op == op
        assert (found.narrow, found.bits_after) == (expected.narrow, expected.bits_after)
        assert found.step_noise == expected.step_noise


def test_a_variable_takes_no_memory_before_it_is_run():
    """Of 4 thousand million elements, in a file of half a kilobyte."""
    b = TFLiteBuilder()
    x = b.tensor("x", [1, (1 << 31) - 1, 2], scale=0.1, zero_point=3, variable=True)
    y = b.tensor("y", [1, (1 << 31) - 1, 2], scale=0.2, zero_point=3)
    b.operator("QUANTIZE", [x], [y])
    data = b.build(x, y)
    tracemalloc.start()
    assert "QUANTIZE" in explain.explain(data)
    with pytest.raises(ModelError, match="4294967294 elements"):
        lower(parse(data), Tflm())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def called(calls: list[int]) -> bytes:
    """A model whose subgraph i calls subgraph calls[i]; the main one also gives its input's ABS."""
    b = TFLiteBuilder()
    x, y = b.input([1, 4]), b.tensor("y", [1, 4], scale=0.03)
    b.operator("CALL_ONCE", [], [])
    code = b.graph.operators.pop().opcodeIndex
    b.operator("ABS", [x], [y])
    b.graph.inputs, b.graph.outputs = [x], [y]
    b.model.subgraphs += [schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[]) for _ in calls[1:]]
    for graph, index in zip(b.model.subgraphs, calls, strict=True):
        options = schema.CallOnceOptionsT(initSubgraphIndex=index)
        kind = schema.BuiltinOptions.CallOnceOptions
        graph.operators.insert(0, schema.OperatorT(code, [], [], builtinOptionsType=kind, builtinOptions=options))
    return pack(b.model)


@pytest.mark.parametrize("calls", [[1, 1], [*range(1, 3000), 1]])
def test_subgraphs_that_call_one_another_run_once(calls):
    x = np.array([[-100, -3, 0, 90]], np.int8)
    (y,) = simulate(called(calls), x, "tflm").outputs
    np.testing.assert_array_equal(y, simulate(one_abs(), x, "tflm").outputs[0])


def one_abs() -> bytes:
    b = TFLiteBuilder()
    x, y = b.input([1, 4]), b.tensor("y", [1, 4], scale=0.03)
    b.operator("ABS", [x], [y])
    return b.build(x, y)


def test_a_main_subgraph_that_calls_itself():
    with pytest.raises(ModelError, match="before it is computed"):
        simulate(called([0]), np.zeros((1, 4), np.int8), "tflm")


def test_variables_of_one_name_and_two_shapes():
    """The reader would look behind the end of what the writer left."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    small, large = (b.tensor(name, [1], type="INT32") for name in ("handle", "handle2"))
    y = b.tensor("y", [1, 4000], scale=b.scale(x), zero_point=b.zero_point(x))
    for handle in (small, large):
        b.operator("VAR_HANDLE", [], [handle])
        b.graph.operators[-1].builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        b.graph.operators[-1].builtinOptions = schema.VarHandleOptionsT(container="", sharedName="same")
    b.operator("ASSIGN_VARIABLE", [small, x], [])
    b.operator("READ_VARIABLE", [large], [y])
    with pytest.raises(ModelError, match=r"READ_VARIABLE.*\[1, 4000\] is int8 \[1, 4\]"):
        simulate(b.build(x, y), np.zeros((1, 4), np.int8), "tflm")


def test_an_output_that_nothing_computes():
    b = TFLiteBuilder()
    x, y = b.input([1, 4]), b.tensor("y", [1, 4], scale=0.03)
    with pytest.raises(ModelError, match=r"reads tensor 1 .y. before it is computed"):
        simulate(b.build(x, y), np.zeros((1, 4), np.int8), "tflm")


def test_an_output_that_is_a_constant():
    b = TFLiteBuilder()
    x, y = b.input([1, 4]), b.tensor("y", [1, 2], scale=0.03, data=[[5, 6]])
    (found,) = simulate(b.build([x], [y]), np.zeros((3, 4), np.int8), "tflm").outputs
    assert found.tolist() == [[5, 6]] * 3


@pytest.mark.parametrize("bits", [1, 31])
def test_images_too_large_to_simulate_are_narrowed(bits):
    b = TFLiteBuilder()
    x = b.input([1, 4096, 4096, 16])
    data = b.build(x, b.conv(x, 8, kernel=1))
    narrowed, report = narrow(data, bits)
    assert check(narrowed, bits).offenders == ()
    assert report.rows[0].accumulator
    assert "acc" in explain.explain(narrowed)
    with pytest.raises(ModelError, match="has 268435456 elements; at most"):
        lower(parse(narrowed), Narrow())


def test_many_large_tensors():
    """Each is small enough, and all of them together are not."""
    b = TFLiteBuilder()
    x = b.input([1, 1 << 25])
    y = x
    for i in range(33):
        y = b.derived("ABS", [y], name=f"y{i}")
    with pytest.raises(ModelError, match="an inference holds 1140850688 elements"):
        simulate(b.build(x, y), np.zeros((1, 1), np.int8), "tflm")


def test_a_view_of_what_is_not_computed():
    b = TFLiteBuilder()
    x, lost = b.input([1, 4]), b.input([1, 4], name="lost")
    y = b.reshape(b.reshape(lost, [4, 1]), [1, 4])
    with pytest.raises(ModelError, match=r"reads tensor 1 .lost. before it is computed"):
        c.translate(b.build(x, y), "model", Tflm())


def test_a_stock_factor_beyond_all_shifts_is_not_written():
    data = one_operator("SUM", [{**A, "scale": 3e38}, indices([1, 2])], {**B, "scale": 1e-38, "shape": [1, 4]})
    with pytest.raises(ModelError, match="too large for the stock rescale"):
        c.translate(data, "model", Tflm())


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2)])
def test_a_bias_of_more_dimensions_is_narrowed_all_the_same(shape):
    """Its elements count, as in the runtimes."""
    w, bias = activation([0.02, 0.03], 0, (2, 3, 3, 4), data=np.ones((2, 3, 3, 4))), np.reshape([7000, -900], shape)
    scales = 0.031 * np.array([0.02, 0.03])
    operands = [A, w, {"shape": list(shape), "type": "INT32", "scale": scales, "data": bias}]
    narrowed, _ = narrow(one_operator("CONV_2D", operands, SMALL, 3, **CONV), 4)
    expected, _ = narrow(one_operator("CONV_2D", [*operands[:2], operands[2] | {"shape": [2]}], SMALL, 3, **CONV), 4)
    found = [parse(data).subgraphs[0].tensors[2].data.reshape(-1).tolist() for data in (narrowed, expected)]
    assert found[0] == found[1]


def test_metadata_of_a_rescale_without_an_integer_form():
    """Axes that are computed: the factor is known, and how large sums can be is not."""
    b = TFLiteBuilder()
    x, axes = b.input([1, 6, 6, 3]), b.tensor("axes", [2], type="INT32")
    y = b.derived("MEAN", [b.conv(x, 4), axes], shape=[1, 4])
    narrowed, report = narrow(b.build([x, axes], y), 4)
    entry = metadata.dump(metadata.attach(narrowed, report))["operators"][-1]
    assert entry["op"] == "MEAN"
    assert entry["multiplier"]
    assert "accumulator_bound" not in entry


@pytest.mark.parametrize("shape", [(3, 0, 2), (0, 3, 2)])
def test_tensors_without_elements(shape):
    """A computed one from one that is fed, in a model whose other input is not empty."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    empty = b.reshape(b.tensor("nothing", [0], scale=0.1, variable=True), shape)
    y = b.derived("ABS", [x])
    data = b.build(x, [y, empty])
    assert simulate(data, np.ones((2, 4), np.int8), "tflm").outputs[1].shape == (2 * shape[0], *shape[1:])


def test_an_input_without_elements():
    data = one_operator("ABS", [{**A, "shape": [1, 0, 3]}], {**B, "shape": [1, 0, 3]})
    assert simulate(data, np.zeros((2, 0, 3), np.int8), "tflm").outputs[0].shape == (2, 0, 3)


@pytest.mark.parametrize("constant", ["x", "y"])
def test_constants_that_are_written(constant):
    """Readers would disagree about what they hold: an input, and what an operator computes."""
    b = TFLiteBuilder()
    x, y = (b.tensor(name, [4], scale=0.03, data=[1, 2, 3, 4] if name == constant else None) for name in "xy")
    b.operator("ABS", [x], [y])
    data = b.build(x, y)
    with pytest.raises(ModelError, match="is constant, and is to be written"):
        simulate(data, np.zeros(4, np.int8), "tflm")
    with pytest.raises(ModelError, match="is constant, and is to be written"):
        c.translate(data, "model", Tflm())


def test_a_huge_variable_that_only_the_border_names():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    b.unknown(b.conv(x, 3), op="CUSTOM:strange")
    huge = b.tensor("huge", [1, (1 << 31) - 1, 5, 3], type="INT16", scale=0.1, variable=True)
    with pytest.raises(ModelError, match="elements; at most"):
        c.translate(b.build(x, huge), "model", Tflm())
