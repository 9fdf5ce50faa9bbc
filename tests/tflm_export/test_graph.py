# SPDX-License-Identifier: Apache-2.0
"""Ownership of constants: which bytes an operator may change on its own."""

from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tflm_export.flatbuffer.model import parse
from tflm_export.graph import Graph


def owned(change=lambda b: None, outputs=None) -> dict[str, bool]:
    """Whether each constant of two convolutions is owned."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    y = b.conv(b.conv(x, 3, name="a"), 3, name="b")
    change(b)
    model = parse(b.build(x, [y] if outputs is None else [y, *outputs]))
    graph = Graph(model)
    return {t.name: graph.owns(t) for t in model.tensors if t.is_constant and t.type != "FLOAT32"}


def first_weights(b) -> int:
    return b.graph.operators[0].inputs[1]


def test_constants_of_one_user_are_owned():
    assert owned() == {"a/weights": True, "a/bias": True, "b/weights": True, "b/bias": True}


def test_two_users_of_a_tensor():
    def change(b):
        b.graph.operators[1].inputs[1] = first_weights(b)

    assert owned(change)["a/weights"] is False


def test_one_user_twice():
    def change(b):
        b.graph.operators[0].inputs.append(first_weights(b))

    assert owned(change)["a/weights"] is False


def test_a_constant_that_is_a_graph_output():
    assert owned(outputs=[1])["a/weights"] is False


def test_two_tensors_on_a_buffer():
    def change(b):
        b.graph.tensors[b.graph.operators[1].inputs[1]].buffer = b.buffer(first_weights(b))

    result = owned(change)
    assert (result["a/weights"], result["b/weights"]) == (False, False)
    assert result["a/bias"] is True


def test_users_in_another_subgraph_count():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3])
    b.conv(x, 3, name="a")
    model = unpack(b.build(x, 3))
    model.subgraphs.append(unpack(pack(model)).subgraphs[0])
    graph = Graph(parsed := parse(pack(model)))
    assert not any(graph.owns(t) for t in parsed.tensors if t.is_constant)
