# SPDX-License-Identifier: Apache-2.0
"""The corpus: rows of the kind a model was made for, and how near narrowed files stay."""

import json
import math

import numpy as np
import pytest

from benchmarks import corpus, faithfulness
from benchmarks.natural_inputs import Rows, natural_inputs, photographs
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate


def classifier(side: int = 48, channels: int = 3, input_type: str = "INT8", seed: int = 0) -> bytes:
    """A network on images that ends in a SOFTMAX."""
    b = TFLiteBuilder(seed)
    shape = [1, side, side, channels]
    if input_type == "FLOAT32":
        x = b.tensor("input", shape, type="FLOAT32")
        first = b.quantize(x, scale=1 / 64, zero_point=-128)
    else:
        x = first = b.input(shape, scale=1 / 255, zero_point=-128)
    y = b.conv(first, 6, name="stem", zero_point=-128, activation="RELU")
    return b.build(x, b.softmax(b.fully_connected(b.mean(y), 5, name="logits")))


def random_rows(data: bytes, rows: int, seed: int = 1) -> Rows:
    (tensor,) = parse(data).subgraphs[0].inputs
    shape = (rows * tensor.shape[0], *tensor.shape[1:])
    return Rows("random", [np.random.default_rng(seed).integers(-128, 128, shape, np.int8)], rows)


def test_photographs_are_the_same_in_every_run_and_differ_among_each_other():
    found = photographs((48, 64, 3), 6)
    np.testing.assert_array_equal(found, photographs((48, 64, 3), 6))
    assert found.shape == (6, 48, 64, 3)
    assert found.min() >= 0
    assert found.max() <= 255
    assert len(np.unique(found.reshape(6, -1), axis=0)) == 6
    np.testing.assert_array_equal(photographs((48, 64, 3), 2), found[:2])


def test_pixels_span_the_input():
    """0 and 255 become the ends of the type, whatever its scale; of a float input, the ends of what it is stored as."""
    pixels = photographs((48, 48, 3), 3)
    rows = natural_inputs("any", parse(classifier()), 3)
    assert rows.source == "photographs"
    np.testing.assert_array_equal(rows.arrays[0], pixels.round().astype(int) - 128)
    (values,) = natural_inputs("any", parse(classifier(input_type="FLOAT32")), 3).arrays
    np.testing.assert_allclose(values, pixels / 64, rtol=1e-6)  # integers -128 to 127, of 1/64 above -128


@pytest.mark.parametrize("shape", [[1, 7], [1, 48, 48, 2], [1, 20, 20, 3]])
def test_unknown_inputs_have_no_natural_rows(shape):
    b = TFLiteBuilder()
    x = b.input(shape)
    assert natural_inputs("any", parse(b.build(x, b.quantize(x))), 3) is None


def test_what_decides_stands_before_the_softmax():
    (found,) = faithfulness.deciding(parse(classifier()))
    assert found.name == "logits"
    b = TFLiteBuilder()
    x = b.input([1, 8])
    plain = parse(b.build(x, b.quantize(b.fully_connected(x, 4, name="score"))))
    assert faithfulness.deciding(plain) == list(plain.subgraphs[0].outputs)


def test_outputs_are_those_of_the_tensor_that_decides():
    data = classifier()
    rows = random_rows(data, 5)
    (tensor,) = faithfulness.deciding(parse(data))
    expected = simulate(data, rows.arrays[0], "tflite")[tensor]
    np.testing.assert_array_equal(faithfulness.outputs(data, rows, reference=True).values[tensor.index], expected)


def test_a_file_agrees_with_itself():
    data = classifier()
    found = faithfulness.outputs(data, random_rows(data, 5))
    same = found.agreement(found)
    assert (same.top1, same.sqnr) == (1.0, math.inf)


def test_what_only_the_wider_range_holds_is_no_noise():
    """One output, twice the scale: 127 in the stock file is anything from 64 up in the other one."""
    outputs = []
    for scale, values in ((0.25, [[127, -128, 8]]), (0.5, [[90, -100, 4]])):
        b = TFLiteBuilder()
        x = b.input([1, 3], scale=scale, zero_point=0)
        (tensor,) = parse(b.build(x, x)).subgraphs[0].outputs
        outputs.append(faithfulness.Outputs([tensor], {tensor.index: np.array(values, np.int8)}))
    found = outputs[0].agreement(outputs[1])
    assert found.sqnr == math.inf


def test_the_costliest_operator_is_the_one_that_was_made_so():
    """`keep` rounds factors; one layer's is the farthest from a power of two, all the others are powers of two."""
    b = TFLiteBuilder(3)
    x = b.input([1, 16], scale=1 / 128, zero_point=0)
    y = b.fully_connected(x, 16, name="exact", weight_scale=1 / 64, scale=1 / 32, zero_point=0)
    y = b.fully_connected(y, 16, name="coarse", weight_scale=1.4 / 64, scale=1 / 32, zero_point=0)
    data = b.build(x, b.fully_connected(y, 8, name="last", weight_scale=1 / 64, scale=1 / 16, zero_point=0))
    rows = random_rows(data, 8)
    found = faithfulness.costliest(data, 1, rows, faithfulness.outputs(data, rows), method="keep")
    assert [label for label, _ in found] == ["1 FULLY_CONNECTED"]


def test_first_rows_of_models_that_take_several_at_once():
    rows = random_rows(residual_network(batch=4), 6)
    np.testing.assert_array_equal(rows.first(2).arrays[0], rows.arrays[0][:8])
    assert rows.first(9).count == 6


def test_rows_are_fewer_where_they_take_long():
    assert faithfulness.rows_for(parse(classifier())) == faithfulness.MOST_ROWS
    assert faithfulness.rows_for(parse(residual_network())) == faithfulness.MOST_ROWS


@pytest.mark.slow
def test_tables(tmp_path):
    """A folder of two networks, a damaged one and a float one, from the worst on; as text and as JSON."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "photos.tflite").write_bytes(classifier())
    (folder / "other.tflite").write_bytes(residual_network(batch=1))
    (folder / "broken.tflite").write_bytes(b"no model")
    arguments = ["corpus", "--bits=8,1", "--rows=1", f"--folder={folder}", f"--output={tmp_path / 'out'}"]
    assert corpus.main(arguments) == 0
    found = json.loads((tmp_path / "out" / "corpus.json").read_text(encoding="utf-8"))
    assert "no TFLite model" in found["broken"]["refused"] or "not a TFLite model" in found["broken"]["refused"]
    assert found["photos"]["differences"] == 0
    photos = found["photos"]["nearness"]
    assert (photos["source"], photos["rows"]) == ("photographs", 200)
    data = classifier()
    rows = natural_inputs("photos", parse(data), 200)
    stock, narrowed = (faithfulness.outputs(model, rows) for model in (data, narrow(data, 1)[0]))
    assert photos["widths"]["1"]["sqnr"] == pytest.approx(stock.agreement(narrowed).sqnr)
    text = (tmp_path / "out" / "corpus.md").read_text(encoding="utf-8")
    gaps = [corpus.gap(found[name]["nearness"]) for name in ("photos", "other")]
    first, second = ("photos", "other") if gaps[0] > gaps[1] else ("other", "photos")
    assert text.index(f"| {first} |") < text.index(f"| {second} |")


def nearness(floor: float | None, **widths: float | None) -> dict:
    """A result of the corpus, SQNR by width (k8=...)."""
    found = {bits[1:]: {"sqnr": sqnr, "top1": None} for bits, sqnr in widths.items()}
    known = {"sqnr": floor, "top1": None}
    return {"source": "s", "rows": 1, "constant": False, "floor": known, "widths": found}


@pytest.mark.parametrize(
    ("floor", "widths", "is_far"),
    [
        (30.0, {"k8": 25.5, "k1": 20.5}, False),
        (30.0, {"k8": 24.5, "k1": 20.5}, True),
        (30.0, {"k8": 25.5, "k1": 19.5}, True),
        (30.0, {"k4": 10.0, "k2": 10.0}, False),
        (70.0, {"k8": 36.0, "k1": 31.0}, False),  # a floor above 40 counts as 40
        (None, {"k8": 34.5, "k1": None}, True),  # no difference at all is the floor's infinity
    ],
)
def test_far_below_the_floor(floor, widths, is_far):
    assert corpus.is_far(nearness(floor, **widths)) == is_far


def test_causes_stand_beside_files_that_are_far():
    far, near = nearness(30.0, k8=20.0), nearness(30.0, k8=29.0)
    causes = {"a": "because"}
    assert corpus.nearness_row("a", far, [8], causes)[-1] == "because"
    assert corpus.nearness_row("a", near, [8], causes)[-1] == ""


def test_widths_are_refused_by_name(capsys):
    assert corpus.main(["corpus", "--bits=8,x"]) == 2
    assert "--bits takes widths" in capsys.readouterr().err
    assert corpus.main(["corpus", "--bits=0"]) == 2
    assert "1 to 31" in capsys.readouterr().err
