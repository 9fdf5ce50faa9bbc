# SPDX-License-Identifier: Apache-2.0
"""Constants that operators share: one form for all where there is one, else copies."""

import io
import zipfile

import numpy as np
import pytest

from tests.helpers import peer, runtimes
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tflm_export import METHODS, check, narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.flatbuffer.reader import Reader
from tflm_export.graph import Graph
from tflm_export.metadata import attach
from tflm_export.sharing import shared_constants

WIDTHS = (1, 2, 4, 8)


def twice(second_scale=0.0529, share="tensor", per_channel=True, third_scale=None) -> bytes:
    """Layers of one input with the same weights and bias, at the same or other output scales."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    ends = [b.conv(x, 4, name="first", per_channel=per_channel)]
    _, w, bias = b.graph.operators[-1].inputs
    for name, scale in (("second", second_scale), ("third", third_scale)):
        if scale is None:
            continue
        ends.append(b.conv(x, 4, name=name, scale=scale, per_channel=per_channel))
        operator = b.graph.operators[-1]
        for position, source in ((1, w), (2, bias)):
            tensor = b.graph.tensors[operator.inputs[position]]
            old = b.graph.tensors[source]
            tensor.quantization, tensor.buffer = old.quantization, old.buffer
            if share == "nothing":
                b.model.buffers.append(type(b.model.buffers[0])(data=b.model.buffers[old.buffer].data))
                tensor.buffer = len(b.model.buffers) - 1
            elif share == "tensor":
                operator.inputs[position] = source
    return b.build(x, ends)


def inputs_of(data: bytes) -> list[list[tuple]]:
    return [[(t.data.tobytes(), t.scale.tobytes()) for t in operator.inputs[1:]] for operator in peer.operators(data)]


def accepted(data: bytes) -> None:
    """Every layer on LiteRT's reference kernels and TFLM, which verify the file, equals the simulation."""
    rows = runtimes.random_rows(parse(data), 2)
    for runtime in runtimes.RUNTIMES:
        assert not runtimes.differences(data, rows, runtime)


@pytest.mark.parametrize("share", ["tensor", "buffer"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_one_form_that_suits_all_stays_one(bits, method, share):
    data = twice(share=share)
    narrowed, report = narrow(data, bits, method)
    assert report.offenders == check(narrowed, bits).offenders == ()
    assert len(narrowed) == len(data)
    apart, _ = narrow(twice(share="nothing"), bits, method)
    assert inputs_of(narrowed) == inputs_of(apart)
    accepted(narrowed)


@pytest.mark.parametrize("share", ["tensor", "buffer"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_users_that_need_different_forms_get_copies(bits, share):
    data = twice(0.0731, share)
    narrowed, report = narrow(data, bits)
    assert report.offenders == check(narrowed, bits).offenders == ()
    apart, _ = narrow(twice(0.0731, "nothing"), bits)
    assert inputs_of(narrowed) == inputs_of(apart)
    assert inputs_of(narrowed)[0] != inputs_of(narrowed)[1]
    assert len(data) < len(narrowed) < 3 * len(data)
    accepted(narrowed)


def test_only_what_differs_is_copied():
    """Of three users two agree; a pair of other layers agrees altogether."""
    data = twice(0.0731)
    b = unpack(data)
    with_pair, _ = narrow(data, 2)
    assert len(peer.tensors(with_pair)) == len(peer.tensors(data)) + 2  # weights and bias of one of the two
    assert len(b.subgraphs[0].tensors) == len(peer.tensors(data))


def two_pairs() -> bytes:
    """Two layers that can share their weights, and two others that cannot."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    ends = []
    for name, scales in (("same", (0.05, 0.05)), ("other", (0.05, 0.07))):
        ends.append(b.conv(x, 4, name=f"{name}0", scale=scales[0]))
        first = b.graph.operators[-1].inputs
        ends.append(b.conv(x, 4, name=f"{name}1", scale=scales[1]))
        b.graph.operators[-1].inputs = first
    return b.build(x, ends)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_a_pair_that_agrees_beside_one_that_does_not(bits, method):
    data = two_pairs()
    narrowed, report = narrow(data, bits, method)
    assert not report.offenders
    same0, same1, other0, other1 = peer.operators(narrowed)
    assert [t.key for t in same0.inputs] == [t.key for t in same1.inputs]
    assert all(a.key != b.key for a, b in zip(other0.inputs[1:], other1.inputs[1:], strict=True))
    accepted(narrowed)
    for operator in (same0, same1, other0, other1):
        assert peer.off_grids(np.array([float(f) for f in operator.factors]), bits).max() < 2.0**-22


@pytest.mark.parametrize("data", [twice(), twice(0.0731), two_pairs()], ids=["same", "other", "both"])
def test_narrowing_again_and_31_bits_change_nothing(data):
    narrowed, _ = narrow(data, 4)
    assert narrow(narrowed, 4)[0] == narrowed
    assert narrow(data, 31)[0] == data


def test_a_copy_has_all_that_the_original_had():
    data = twice(0.0731)
    narrowed, _ = narrow(data, 4)
    model = unpack(narrowed)
    assert pack(model)  # the object API reads all of it
    graph = model.subgraphs[0]
    assert graph.name == unpack(data).subgraphs[0].name
    for position in (1, 2):
        old, new = (graph.tensors[operator.inputs[position]] for operator in graph.operators)
        assert old.buffer != new.buffer
        for field in ("name", "type", "isVariable", "hasRank", "sparsity"):
            assert getattr(old, field) == getattr(new, field)
        np.testing.assert_array_equal(old.shape, new.shape)
        assert old.quantization.quantizedDimension == new.quantization.quantizedDimension
        np.testing.assert_array_equal(old.quantization.zeroPoint, new.quantization.zeroPoint)


def test_metadata_and_an_appended_zip_survive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("labels.txt", "yes\nno\n")
    data = twice(0.0731) + content.getvalue()
    narrowed, report = narrow(data, 4)
    whole = attach(narrowed, report)
    assert zipfile.ZipFile(io.BytesIO(whole)).read("labels.txt") == b"yes\nno\n"
    accepted(whole)
    assert check(whole, 4).offenders == ()


def other_subgraph() -> bytes:
    """Two subgraphs, a layer each, tensors of their own and one buffer of weights."""
    b = TFLiteBuilder()
    first = unpack(twice())
    second = unpack(twice(0.0731))
    for graph in (first.subgraphs[0], second.subgraphs[0]):
        graph.operators = graph.operators[:1]
        graph.outputs = [int(graph.operators[0].outputs[0])]
    b.graph.tensors = []
    graph = second.subgraphs[0]
    graph.name = "other"
    x = graph.tensors[graph.inputs[0]]
    x.quantization.scale = np.array([0.05], np.float32)
    first.subgraphs.append(graph)
    return pack(first)


@pytest.mark.parametrize("bits", WIDTHS)
def test_subgraphs_share_weights(bits):
    data = other_subgraph()
    narrowed, report = narrow(data, bits)
    assert [row.subgraph for row in report.rows] == [0, 1]
    assert not report.offenders
    assert len({tuple(pair) for operator in inputs_of(narrowed) for pair in operator[:1]}) == 2
    accepted(narrowed)


def test_a_constant_that_leaves_the_model_stays_as_it_is():
    """The model's border needs the weights in their own scale, the layer gets a copy."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 3])
    y = b.conv(x, 4, name="layer")
    weights = b.graph.operators[-1].inputs[1]
    data = b.build(x, [y, weights])
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    old, new = (peer.tensors(d)[weights] for d in (data, narrowed))
    assert (old.data.tobytes(), old.scale.tobytes()) == (new.data.tobytes(), new.scale.tobytes())
    assert peer.operators(narrowed)[0].inputs[1].data.tobytes() != old.data.tobytes()


def test_copies_are_no_more_than_the_file():
    """A file of many users of one big constant would else become that many times as large."""
    b = TFLiteBuilder()
    x = b.input([1, 6, 6, 30])
    ends = []
    for i in range(12):
        ends.append(b.conv(x, 60, name=f"layer{i}", scale=0.05 + 0.003 * i))
        b.graph.operators[-1].inputs = b.graph.operators[0].inputs
    model = b.build(x, ends)
    lean = unpack(model)
    used = {int(t) for operator in lean.subgraphs[0].operators for t in operator.inputs}
    for i, tensor in enumerate(lean.subgraphs[0].tensors):
        if i not in used and tensor.name.endswith((b"/weights", b"/bias")):
            lean.buffers[tensor.buffer].data = None
    data = pack(lean)
    groups = shared_constants(Graph(parse(data)))
    assert sum(use.tensor.data.nbytes for group in groups for use in group.copied) <= len(data)
    with pytest.raises(Exception, match=r"\(layer0/weights\) is shared with another operator"):
        narrow(data, 1)


def test_the_old_file_is_the_end_of_the_new_one():
    data = twice(0.0731)
    narrowed, _ = narrow(data, 4)
    moved = np.frombuffer(narrowed[-len(data) :], np.uint8)
    assert (moved != np.frombuffer(data, np.uint8)).mean() < 0.5
    assert Reader(narrowed).root().offset < len(narrowed) - len(data)
