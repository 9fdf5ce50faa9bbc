# SPDX-License-Identifier: Apache-2.0
"""Synthetic images: what they look like, what is measured on them, and what that changes in a narrowed file."""

import json
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.helpers import corpus, peer
from tests.helpers.runtimes import tflm_layers
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tflm_export import SYNTHETIC, UsageError, calibration, narrow
from tflm_export.__main__ import main
from tflm_export.compare import compare
from tflm_export.flatbuffer.model import parse
from tflm_export.input_means import input_means
from tflm_export.simulator import simulate
from tflm_export.synthetic import IMAGES, dead_leaves


def network(side: int = 20, channels: int = 3, type: str = "INT8", behind: bool = False) -> bytes:
    """Layers of every kind whose inputs have unequal means, behind a QUANTIZE from float or not."""
    b = TFLiteBuilder(3)
    if behind:
        x = b.tensor("input", [1, side, side, channels], type="FLOAT32")
        y = b.tensor("image", [1, side, side, channels], type=type, scale=0.0173, zero_point=-11)
        b.operator("QUANTIZE", [x], [y], 2)
    else:
        x = y = b.input([1, side, side, channels], type=type, zero_point=0 if type == "INT16" else 7)
    relu = {"INT8": -128, "UINT8": 0, "INT16": 0}[type]
    y = b.conv(
        y, 6, name="conv", scale=0.0311, zero_point=relu, activation="RELU", stride=2, per_channel=type != "UINT8"
    )
    if type == "INT8":
        y = b.depthwise(y, 2, name="depthwise", scale=0.0433, zero_point=-20, activation="RELU6")
        y = b.transpose_conv(y, 4)
    y = b.conv(y, 4, 1, name="pointwise", zero_point=relu, per_channel=type != "UINT8")
    return b.build(x, b.fully_connected(b.flatten(y), 5, name="dense", zero_point=0 if type == "INT16" else 3))


# What the images look like.


def test_images_are_the_same_every_time_and_do_not_depend_on_their_number():
    first = dead_leaves(4, 24, 32, 3)
    assert (first.shape, first.dtype) == ((4, 24, 32, 3), np.float32)
    np.testing.assert_array_equal(first, dead_leaves(4, 24, 32, 3))
    np.testing.assert_array_equal(first[:2], dead_leaves(2, 24, 32, 3))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, dead_leaves(4, 24, 32, 3, seed=1))


@hypothesis.settings(max_examples=30)
@hypothesis.given(st.tuples(*(st.integers(1, most) for most in (3, 40, 40, 5))), st.integers(0, 99))
def test_images_of_any_size_lie_between_black_and_white(shape, seed):
    images = dead_leaves(*shape, seed=seed)
    assert images.shape == shape
    assert images.min() >= 0
    assert images.max() <= 1


def test_brightness_and_colour_are_those_of_the_discs():
    """Grey ~ beta(1.2, 1.4), each channel off by 0.1: cutting at 0 and 1 moves the moments by less than is allowed."""
    images = dead_leaves(60, 48, 48, 3).astype(np.float64)
    assert images.mean() == pytest.approx(1.2 / 2.6, abs=0.03)
    variance = 1.2 * 1.4 / (2.6**2 * 3.6)
    assert images.var() == pytest.approx(variance + 0.1**2, rel=0.15)
    assert np.std(images - images.mean(3, keepdims=True)) == pytest.approx(0.1 * np.sqrt(2 / 3), rel=0.15)


def test_areas_of_one_colour_are_covered_by_discs_of_all_sizes():
    """Edges are lines between areas: half as many of the pixels on twice the grid; and far places go together, too."""
    edges = []
    for side in (64, 128, 256):
        images = dead_leaves(8, side, side, 1)[..., 0]
        edges.append(np.mean(np.abs(np.diff(images, axis=2)) > 0.06))  # noise: 0.014 RMS
        far = images[:, :, side // 4 :] - images[:, :, : -side // 4]
        assert np.mean(far**2) < 1.8 * images.var()  # 2 where nothing goes together
    assert edges[0] < 0.25
    assert edges[1:] == pytest.approx([edges[0] / 2, edges[0] / 4], rel=0.1)


# What is measured on them.


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
def test_means_are_those_of_calibration_with_the_same_rows(type):
    """Which the tests of calibration hold against numpy, for every operator with weights."""
    model = parse(network(type=type))
    low, high = np.iinfo(type.lower()).min, np.iinfo(type.lower()).max
    rows = np.random.default_rng(0).integers(low, high + 1, (3, 20, 20, 3)).astype(type.lower())
    found = input_means(model, lambda: [rows[:, None]])
    measured = calibration.Calibration.run(model, [rows])
    weighted = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}
    operators = [operator for operator in model.operators if operator.name in weighted]
    assert found.problem == ""
    assert found.statistics.keys() == {(0, operator.index) for operator in operators}
    for operator in operators:
        statistics = found.statistics[0, operator.index]
        assert statistics.covariance is None
        np.testing.assert_allclose(statistics.mean, measured.statistics(operator).mean, atol=1e-9)


def test_every_group_of_a_convolution_has_its_own_inputs():
    b = TFLiteBuilder(1)
    x = b.input([1, 6, 6, 4], zero_point=-3)
    y = b.conv(x, 6, name="grouped")
    model = unpack(b.build(x, y))
    weights = model.subgraphs[0].tensors[1]
    weights.shape = [6, 3, 3, 2]  # two groups of two inputs
    model.buffers[weights.buffer].data = model.buffers[weights.buffer].data[: 6 * 9 * 2]
    rows = np.random.default_rng(0).integers(-128, 128, (2, 6, 6, 4), np.int8)
    mean = input_means(parse(pack(model)), lambda: [rows[:, None]]).statistics[0, 0].mean
    padded = np.pad(rows.astype(float) + 3, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)).mean((0, 1, 2))  # [inputs, 3, 3]
    for channel in range(6):
        group = windows[:2] if channel < 3 else windows[2:]
        np.testing.assert_allclose(mean[channel], group.transpose(1, 2, 0).reshape(-1))


def test_no_more_is_kept_than_is_to_be_read():
    """Ten more layers take no more memory at a time."""

    def peak(layers):
        b = TFLiteBuilder()
        x = y = b.input([1, 64, 64, 8])
        for i in range(layers):
            y = b.conv(y, 8, 1, name=f"conv{i}")
        model = parse(b.build(x, y))
        rows = np.zeros((4, 1, 64, 64, 8), np.int8)
        tracemalloc.start()
        assert len(input_means(model, lambda: [rows]).statistics) == layers
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(13) < 1.1 * peak(3)


# What that changes.


def leaves(side: int, channels: int) -> np.ndarray:
    """The images as an int8 input holds them."""
    return (np.rint(dead_leaves(IMAGES, side, side, channels).astype(np.float64) * 255) - 128).astype(np.int8)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_biases_are_shifted_by_what_rounding_errors_make_of_the_means(bits):
    """b' = (b + sum((w - w' g) mean(x))) / g with g = (S'w S'x) / (Sw Sx), from TFLM's own tensors, to the integer."""
    data = network()
    plain, with_images = narrow(data, bits, synthetic="none")[0], narrow(data, bits)[0]
    layers = tflm_layers(data, [[row[None]] for row in leaves(20, 3)])
    layers[parse(data).subgraphs[0].inputs[0].index] = leaves(20, 3)
    moved = 0
    for old, same, new in zip(*(peer.operators(d) for d in (data, plain, with_images)), strict=True):
        if old.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        (x, w, b), (x2, w2, b2), b1 = old.inputs, new.inputs, same.inputs[2]
        np.testing.assert_array_equal(w2.integers, same.inputs[1].integers)  # rounded without data
        np.testing.assert_array_equal(w2.scale, same.inputs[1].scale)
        mean = mean_inputs(old.name, layers[x.key[1]].astype(float) - x.zero, w)
        growth = w2.scale.astype(np.float64) / w.scale
        by_channel = growth.reshape([-1 if i == w.dimension and growth.size > 1 else 1 for i in range(len(w.shape))])
        errors = (w.integers - w2.integers * by_channel) * mean
        axes = tuple(i for i in range(len(w.shape)) if i != (3 if old.name.startswith("DEPTH") else 0))
        rescaled = growth * (np.float64(x2.scale[0]) / x.scale[0])
        shifted = (b.integers + errors.sum(axes)) / rescaled
        np.testing.assert_array_equal(b2.integers, np.rint(shifted))
        moved += np.count_nonzero(b2.integers != b1.integers)
    assert moved > 10


def test_weights_and_scales_of_four_bits_are_chosen_as_without():
    """Their scales may go either way, by what errors of single weights matter: of which means alone say nothing."""
    b = TFLiteBuilder(3, int4=True)
    x = b.input([1, 20, 20, 3])
    y = b.conv(b.conv(x, 6, name="first", zero_point=-128, activation="RELU"), 4, name="second")
    data = b.build(x, y)
    (plain, _), (narrowed, report) = (narrow(data, 1, synthetic=s) for s in ("none", "auto"))
    assert report.synthetic == "biases of 2 operators corrected by 4 synthetic images"
    for old, new in zip(peer.tensors(plain), peer.tensors(narrowed), strict=True):
        assert old.scale.tolist() == new.scale.tolist()
        assert (old.data.tobytes() == new.data.tobytes()) == (not old.name.endswith("bias"))


def mean_inputs(name: str, x: np.ndarray, w) -> np.ndarray:
    """Means of the centred inputs under each weight, in the shape of the weights (or one that broadcasts to it)."""
    if name == "FULLY_CONNECTED":
        return x.mean(0)
    size = w.shape[1]
    stride = 2 if w.name == "conv/weights" else 1
    spare = max((-(-x.shape[1] // stride) - 1) * stride + size - x.shape[1], 0)  # SAME
    border = (spare // 2, spare - spare // 2)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
    mean = windows.mean((0, 1, 2)).transpose(1, 2, 0)  # [height, width, inputs]
    return np.repeat(mean, w.shape[3] // mean.shape[2], 2) if name.startswith("DEPTH") else mean


def test_features_of_other_images_lose_the_error_of_their_mean():
    """Of the layer before the last, over its places and images of another seed."""
    data = network()
    rows = (np.rint(dead_leaves(24, 20, 20, 3, seed=9) * 255) - 128).astype(np.int8)

    def features(model: bytes) -> np.ndarray:
        parsed = parse(model)
        tensor = next(operator.outputs[0] for operator in parsed.operators if operator.outputs[0].name == "pointwise")
        real = simulate(parsed, rows, "tflm")[tensor].astype(float) - tensor.zero_point
        return tensor.scale * real.mean((0, 1, 2))

    stock = features(data)
    plain, corrected = (
        np.sqrt(np.mean((features(narrow(data, 1, synthetic=wanted)[0]) - stock) ** 2)) for wanted in ("none", "auto")
    )
    assert corrected < plain / 2


@pytest.mark.parametrize(
    ("model", "used"),
    [
        (network(), True),
        (network(type="UINT8"), True),
        (network(behind=True), True),
        (network(type="INT16"), False),  # 0 may be black or grey there
        (network(channels=1), False),
        (network(side=12), False),  # no image so small; a series of three sensors, perhaps
    ],
)
def test_colour_images_are_known_by_their_shape(model, used):
    none, auto, images = (narrow(model, 1, synthetic=wanted) for wanted in ("none", "auto", "images"))
    assert none[1].synthetic == ""
    assert "corrected by 4 synthetic images" in images[1].synthetic
    assert images[0] != none[0]
    assert (auto[0], auto[1].synthetic) == ((images if used else none)[0], (images if used else none)[1].synthetic)
    assert narrow(model, 1)[0] == auto[0]


def test_real_values_are_the_images_that_the_integers_behind_them_hold():
    """A model that quantises its input gets the biases of the same model without."""
    b = TFLiteBuilder(3)
    x = b.input([1, 20, 20, 3], scale=0.0173, zero_point=-11)
    y = b.conv(x, 6, name="conv")
    model = unpack(b.build(x, b.fully_connected(b.flatten(y), 5)))
    graph = model.subgraphs[0]
    expected = [
        layer.inputs[2].integers for layer in peer.operators(narrow(pack(model), 1)[0]) if len(layer.inputs) > 2
    ]
    b.graph, b.model = graph, model
    real = b.tensor("real", [1, 20, 20, 3], type="FLOAT32")
    b.operator("QUANTIZE", [real], [graph.inputs[0]], 2)
    graph.operators.insert(0, graph.operators.pop())
    data = b.build(real, list(graph.outputs))
    found = [layer.inputs[2].integers for layer in peer.operators(narrow(data, 1)[0]) if len(layer.inputs) > 2]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("bits", "method"), [(31, "requantize"), (1, "keep"), (8, "keep")])
def test_nothing_changes_where_no_weight_does(bits, method):
    data = network()
    (plain, _), (narrowed, report) = (narrow(data, bits, method, synthetic=s) for s in ("none", "images"))
    assert narrowed == plain
    assert report.synthetic == ""
    if bits == 31:
        assert narrowed == data


def test_real_data_wins():
    data, rows = network(), {"input": leaves(20, 3)}
    with_data, report = narrow(data, 1, calibration=rows, synthetic="images")
    assert report.synthetic == ""
    assert with_data == narrow(data, 1, calibration=rows, synthetic="none")[0]


def test_what_cannot_be_run_stays_as_it_is_without_images_and_is_said():
    b = TFLiteBuilder(3)
    x = b.input([1, 20, 20, 3])
    strange = b.unknown(b.conv(x, 4, name="first"), op="CUSTOM:strange")
    data = b.build(x, b.conv(strange, 4, name="second"))
    (plain, _), (narrowed, report) = (narrow(data, 1, synthetic=s) for s in ("none", "auto"))
    assert report.synthetic.startswith("biases of 1 operator corrected by 4 synthetic images; ")
    assert "no synthetic images for 1 operator: operator 1 CUSTOM:strange" in report.synthetic
    assert report.synthetic in report.table()
    first, second = (
        [np.array_equal(a.integers, c.integers) for a, c in zip(old.inputs, new.inputs, strict=True) if a.data.size]
        for old, new in zip(peer.operators(plain), peer.operators(narrowed), strict=True)
        if old.name == "CONV_2D"
    )
    assert first == [True, False]  # weights, bias
    assert all(second)


def test_a_model_too_large_to_run_is_narrowed_all_the_same():
    b = TFLiteBuilder()
    x = b.input([1, 2**13, 2**13, 3])
    data = b.build(x, b.conv(x, 2, 1))
    narrowed, report = narrow(data, 1)
    assert narrowed == narrow(data, 1, synthetic="none")[0]
    assert report.synthetic == "no synthetic images for 1 operator: the model is too large to be run for it"


def test_no_image_is_drawn_for_a_model_that_is_not_run():
    """Of 100 million elements, of which an image took gigabytes; the layer behind it is small."""
    b = TFLiteBuilder()
    x = b.input([1, 32, 2**20, 3])
    data = b.build(x, b.conv(x, 2, 1, stride=8))
    tracemalloc.start()
    report = narrow(data, 1)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
    assert "for 1 operator: tensor 0 (input) has 100663296 elements; at most 33554432 are" in report.synthetic


def test_images_take_little_more_memory_than_they_are_large():
    """[4, 1024, 1024, 3] in float32 and the integers that they become; beside them, some lines at a time."""
    b = TFLiteBuilder()
    x = b.input([1, 1024, 1024, 3])
    data = b.build(x, b.conv(x, 1, 1, stride=64))
    tracemalloc.start()
    report = narrow(data, 1)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.synthetic == "biases of 1 operator corrected by 4 synthetic images"
    assert peak < 2 * 4 * IMAGES * 1024 * 1024 * 3


def vectors() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 12])
    return b.build(x, b.fully_connected(x, 4))


@pytest.mark.parametrize(
    ("model", "wanted", "words"),
    [
        (network(), "photos", "synthetic must be one of auto, images, none, got 'photos'"),
        (vectors(), "images", r"synthetic images fill inputs .*tensor 0 \(input\) is INT8 \[1, 12\]"),
    ],
)
def test_images_that_cannot_be(model, wanted, words):
    with pytest.raises(UsageError, match=words):
        narrow(model, 1, synthetic=wanted)


def test_on_the_command_line(tmp_path, capsys):
    model, report = tmp_path / "model.tflite", tmp_path / "report.json"
    model.write_bytes(network())
    for wanted in SYNTHETIC:
        flags = ["--bits=1", "--nometadata", f"--synthetic={wanted}", "--overwrite", f"--report={report}"]
        assert main(["tflm_export", *flags, str(model)]) == 0
        assert (tmp_path / "model_k1.tflite").read_bytes() == narrow(network(), 1, synthetic=wanted)[0]
        said = "biases of 5 operators corrected by 4 synthetic images"
        assert (said in capsys.readouterr().out) == (wanted != "none")
        assert json.loads(report.read_text())["synthetic"] == ("" if wanted == "none" else said)
    assert main(["tflm_export", "--check", "--bits=1", "--synthetic=none", str(model)]) == 2


# Real models.


@pytest.mark.parametrize("name", ["tiny__kws_ref_model", "tiny__str_ww_ref_model", "tflite-micro__person_detect"])
def test_inputs_that_are_no_colour_images_are_left_alone(name):
    data = corpus.read(f"models/{name}")
    assert narrow(data, 1)[0] == narrow(data, 1, synthetic="none")[0]


def test_photos_through_a_real_model():
    """Crops of scikit-learn's two pictures, a grid chosen beforehand; logits, without the SOFTMAX."""
    pictures = pytest.importorskip("sklearn.datasets").load_sample_images().images
    rows = [p[y : y + 288 : 3, x : x + 288 : 3] for p in pictures for y in (0, 130) for x in (0, 170, 340)]
    model = unpack(corpus.read("models/tinymaix__vww96_q"))
    graph = model.subgraphs[0]
    graph.outputs = [graph.operators.pop().inputs[0]]
    model.signatureDefs = []
    data, rows = pack(model), (np.stack(rows).astype(np.int16) - 128).astype(np.int8)
    plain, corrected = (
        compare(parse(data), parse(narrow(data, 1, synthetic=wanted)[0]), [rows]).sqnr for wanted in ("none", "auto")
    )
    assert corrected > plain + 3


def test_layers_with_shared_zero_biases_get_biases_of_their_own():
    b = TFLiteBuilder(2)
    x = b.input([1, 20, 20, 3])
    y = b.conv(x, 3, name="first")
    model = unpack(b.build(x, b.conv(y, 3, name="second")))
    graph = model.subgraphs[0]
    biases = [graph.tensors[operator.inputs[2]] for operator in graph.operators]
    model.buffers[biases[0].buffer].data = np.zeros(12, np.uint8)
    biases[1].buffer = biases[0].buffer
    data = pack(model)
    narrowed, report = narrow(data, 1)
    assert not report.offenders
    first, second = (operator.inputs[2].data.tobytes() for operator in peer.operators(narrowed))
    assert first != second
    assert narrow(data, 31)[0] == data


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bits=1", "--calibration=rows.npz"], "is for where there is no --calibration"),
        (["--search", "--calibration=rows.npz"], "is for where there is no --calibration"),
        (["--bits=1", "--method=keep"], "corrects biases, which --method=keep leaves as they are"),
    ],
)
def test_images_that_nothing_would_look_at_are_refused(tmp_path, capsys, flags, message):
    path = tmp_path / "model.tflite"
    path.write_bytes(network())
    assert main(["tflm_export", "--synthetic=images", *flags, str(path)]) == 2
    assert message in capsys.readouterr().err
