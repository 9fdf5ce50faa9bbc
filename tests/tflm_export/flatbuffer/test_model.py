# SPDX-License-Identifier: Apache-2.0
"""The read view against TensorFlow Lite Micro's own schema bindings."""

import numpy as np
import pytest

from tests.helpers import corpus, peer
from tests.helpers.tflite_builder import TFLiteBuilder, pack, residual_network, schema, unpack
from tflm_export import ModelError
from tflm_export.flatbuffer.model import parse


def same_tensor(mine, theirs: peer.Tensor) -> None:
    assert (mine.key, mine.name, mine.shape) == (theirs.key, theirs.name, theirs.shape)
    assert (mine.type, mine.buffer, mine.is_variable) == (theirs.type, theirs.buffer, theirs.variable)
    assert mine.is_constant == bool(theirs.data.size)
    if theirs.data.size:
        assert mine.data_offset == theirs.data_span.start
    if mine.data is not None:
        assert mine.data.shape == theirs.shape
        assert mine.stored.tobytes() == theirs.data.tobytes()
        np.testing.assert_array_equal(mine.data, theirs.integers)
    if theirs.scale.size == 0:
        assert mine.quantization is None
        return
    quantization = mine.quantization
    np.testing.assert_array_equal(quantization.scale.values, theirs.scale)
    assert quantization.scale.offset == theirs.scale_span.start
    assert quantization.dimension == theirs.dimension
    zero_point = theirs.zero_point if theirs.zero_point.size else np.zeros_like(theirs.scale)
    np.testing.assert_array_equal(quantization.zero_point, zero_point)
    assert mine.is_quantized == (theirs.type in ("INT8", "UINT8", "INT16", "INT4"))


def same_model(data: bytes) -> None:
    model = parse(data)
    graphs = peer.subgraphs(data)
    assert model.data == data
    assert len(model.subgraphs) == len(graphs)
    for mine, theirs in zip(model.subgraphs, graphs, strict=True):
        assert mine.name == theirs.name
        assert tuple(t.index for t in mine.inputs) == theirs.inputs
        assert tuple(t.index for t in mine.outputs) == theirs.outputs
        for tensor, other in zip(mine.tensors, theirs.tensors, strict=True):
            same_tensor(tensor, other)
        for operator, other in zip(mine.operators, theirs.operators, strict=True):
            assert ((operator.subgraph, operator.index), operator.name) == (other.key, other.name)
            assert [t and t.key for t in operator.inputs] == [t and t.key for t in other.inputs]
            assert [t.key for t in operator.outputs] == [t.key for t in other.outputs]


@pytest.mark.parametrize("name", corpus.all_models())
def test_real_models(name):
    same_model(corpus.read(name))


def test_built_models():
    same_model(residual_network())


def test_unusual_fields():
    b = TFLiteBuilder()
    x = b.input([1, 4])
    state = b.tensor("state", [1, 4], scale=0.5, variable=True)
    y = b.tensor("Ausgäbe ✓", [1, 4])
    scalar = b.tensor("scalar", [], type="INT32", data=7)
    no_zero = b.tensor("no_zero", [2], scale=0.25)
    b.graph.tensors[no_zero].quantization.zeroPoint = None
    b.graph.tensors[scalar].name = None
    b.operator("CUSTOM:my_op", [x, -1, state, scalar, no_zero], [y])
    b.model.subgraphs.append(schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[], name="empty"))
    data = b.build(x, y)
    same_model(data)
    operator = next(parse(data).operators)
    assert operator.name == "CUSTOM:my_op"
    assert operator.inputs[1] is None
    assert operator.label == "operator 0 CUSTOM:my_op (Ausgäbe ✓)"


def test_operator_codes_of_both_ages():
    """Files from before schema 3a have the one-byte code only; later ones may have the wide one only."""
    model = unpack(residual_network())
    names = [operator.name for operator in parse(pack(model)).operators]
    for old in (True, False):
        model = unpack(residual_network())
        for code in model.operatorCodes:
            code.deprecatedBuiltinCode, code.builtinCode = (code.builtinCode, 0) if old else (0, code.builtinCode)
        assert [operator.name for operator in parse(pack(model)).operators] == names


def test_codes_past_127_are_read_from_the_wide_field():
    b = TFLiteBuilder()
    x = b.input([1, 4])
    y = b.tensor("y", [1, 4])
    b.operator("VAR_HANDLE", [], [y])
    b.operator("STABLEHLO_ADD", [x, x], [y])
    assert [o.name for o in parse(b.build(x, y)).operators] == ["VAR_HANDLE", "STABLEHLO_ADD"]


def test_all_operator_codes_have_their_schema_names():
    b = TFLiteBuilder()
    x = b.input([1])
    codes = {name: code for code, name in peer.OPERATORS.items() if name not in ("CUSTOM", "DELEGATE")}
    for name in codes:
        b.operator(name, [x], [x])
    names = [operator.name for operator in parse(b.build(x, x)).operators]
    known = [theirs for theirs, mine in zip(codes, names, strict=True) if mine == theirs]
    newer = [mine for theirs, mine in zip(codes, names, strict=True) if mine != theirs]
    assert len(known) >= 200
    assert all(name.startswith("UNKNOWN_") for name in newer)


def damaged(change) -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 4])
    y = b.fully_connected(x, 3, per_channel=True)
    change(b)
    return b.build(x, y) if b.graph.inputs is None else pack(b.model)


def _set(path, value):
    def change(b):
        *way, last = path
        target = b.model
        for step in way:
            target = target[step] if isinstance(step, int) else getattr(target, step)
        if isinstance(last, int):
            target[last] = value
        else:
            setattr(target, last, value)

    return change


GRAPH = ("subgraphs", 0)
WEIGHTS = (*GRAPH, "tensors", 1)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), 2, "schema version 2 is not supported; version 3"),
        ((*GRAPH, "operators", 0, "opcodeIndex"), 9, "operator 0 names operator code 9 of 1"),
        ((*GRAPH, "operators", 0, "inputs"), [0, 1, 99], "inputs of operator 0 FULLY_CONNECTED name tensor 99 of 4"),
        ((*GRAPH, "operators", 0, "inputs"), [-2, 1], "inputs of operator 0 FULLY_CONNECTED name tensor -2 of 4"),
        ((*GRAPH, "operators", 0, "outputs"), [-1], "outputs of operator 0 FULLY_CONNECTED name tensor -1 of 4"),
        ((*WEIGHTS, "buffer"), 77, r"tensor 1 \(dense/weights\) names buffer 77"),
        ((*WEIGHTS, "shape"), [3, 5], r"tensor 1 \(dense/weights\) of INT8 \[3, 5\] has a buffer of 12 bytes"),
        ((*WEIGHTS, "shape"), [-3, -4], r"tensor 1 \(dense/weights\)"),
        ((*WEIGHTS, "quantization", "scale"), [1.0, -1.0, 1.0], r"tensor 1 \(dense/weights\) has a negative or"),
        ((*WEIGHTS, "quantization", "scale"), [1.0, float("nan"), 1.0], r"tensor 1 .* non-finite scale"),
        ((*WEIGHTS, "quantization", "scale"), [1.0, float("inf"), 1.0], r"tensor 1 .* non-finite scale"),
        ((*WEIGHTS, "quantization", "zeroPoint"), [0, 0], "3 scales and 2 zero points"),
    ],
)
def test_contradictions_name_the_offender(path, value, message):
    with pytest.raises(ModelError, match=message):
        parse(damaged(_set(path, value)))


@pytest.mark.parametrize("bad", [99, -1])
def test_graph_ends_that_do_not_exist(bad):
    b = TFLiteBuilder()
    x = b.input([1, 4])
    b.fully_connected(x, 3)
    with pytest.raises(ModelError, match=f"subgraph 0 outputs name tensor {bad} of 4"):
        parse(b.build(x, bad))


@pytest.mark.parametrize(
    ("name", "label"), [("x", "tensor 0 (x)"), ("", "tensor 0"), ("a/b;" * 40, f"tensor 0 ({'a/b;' * 14}a...)")]
)
def test_how_messages_name_a_tensor(name, label):
    b = TFLiteBuilder()
    x = b.input([1, 4], name=name)
    graph = parse(b.build(x, b.reshape(x, [2, 2], name=name))).subgraphs[0]
    assert graph.inputs[0].label == label
    assert graph.operators[0].label == f"operator 0 RESHAPE{f' ({name})' if name else ''}"
