# SPDX-License-Identifier: Apache-2.0
"""Calibration data: statistics against direct numpy, the effect on real models, and data that does not fit."""

import copy
import re
import zipfile

import numpy as np
import pytest

from tests.helpers import corpus
from tests.helpers.tflite_builder import TFLiteBuilder, pack, unpack
from tflm_export import METHODS, ModelError, UsageError, calibration, narrow
from tflm_export.compare import compare
from tflm_export.flatbuffer.model import parse
from tflm_export.simulator import simulate


def images(rows: int, seed: int = 0) -> np.ndarray:
    """Smooth random int8 images [rows, 8, 8, 3]: neighbours are alike, as in pictures."""
    coarse = np.random.default_rng(seed).normal(0, 60, (rows, 3, 3, 3))
    weights = np.abs(np.subtract.outer(np.linspace(0, 2, 8), np.arange(3)))
    weights = np.maximum(1 - weights, 0)
    smooth = np.einsum("yi,xj,nijc->nyxc", weights, weights, coarse)
    return np.clip(np.rint(smooth), -128, 127).astype(np.int8)


def network() -> bytes:
    b = TFLiteBuilder(3)
    x = b.input([1, 8, 8, 3])
    y = b.conv(x, 6, name="conv", scale=0.0311, zero_point=-128, activation="RELU")
    y = b.depthwise(y, 2, name="depthwise", scale=0.0433, zero_point=-20, activation="RELU6")
    y = b.add(b.conv(y, 4, 1, name="left"), b.conv(y, 4, 3, name="right"), scale=0.0517)
    return b.build(x, b.fully_connected(b.flatten(y), 5, name="dense"))


def operator_named(model, name):
    return next(op for op in model.operators if op.name == name)


def test_moments_of_a_convolution_are_those_of_its_patches():
    model = parse(network())
    inputs = images(5)
    found = calibration.Calibration.run(model, [inputs]).statistics(operator_named(model, "CONV_2D"))
    padded = np.pad(inputs.astype(float) + 3, ((0, 0), (1, 1), (1, 1), (0, 0)))  # zero point -3
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # [n, y, x, c, i, j]
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 27)
    np.testing.assert_allclose(found.mean, patches.mean(0))
    covariance = np.cov(patches.T, bias=True)
    ridge = 0.01 * np.trace(covariance) / 27 * np.eye(27)
    np.testing.assert_allclose(found.covariance, covariance + ridge, atol=1e-6)


def test_moments_of_a_depthwise_convolution_are_apart():
    model = parse(network())
    inputs = images(4)
    operator = operator_named(model, "DEPTHWISE_CONV_2D")
    x = simulate(model, [inputs], "tflite")[operator.inputs[0]].astype(float) + 128
    found = calibration.Calibration.run(model, [inputs]).statistics(operator)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    for channel in range(12):  # a multiplier of 2: outputs 2c and 2c + 1 see input c
        patches = windows[:, :, :, channel // 2].reshape(-1, 9)
        np.testing.assert_allclose(found.mean[channel], patches.mean(0))
        covariance = np.cov(patches.T, bias=True)
        ridge = 0.01 * np.trace(covariance) / 9 or 1.0
        np.testing.assert_allclose(found.covariance[channel], covariance + ridge * np.eye(9), atol=1e-6)


@pytest.mark.parametrize("scale_ratio", [0.5, 0.8, 1.0, 2.0])
def test_clipping_is_the_error_of_saturating(scale_ratio):
    model = parse(network())
    measured = calibration.Calibration.run(model, [images(6)])
    tensor = operator_named(model, "ADD").outputs[0]
    values = measured.trace[tensor].astype(np.float64)
    scale = tensor.scale * scale_ratio
    real = (values - tensor.zero_point) * tensor.scale
    low, high = ((end - tensor.zero_point) * scale for end in (-128, 127))
    expected = np.mean((real - np.clip(real, low, high)) ** 2) if scale_ratio < 1 else 0.0
    assert measured.clipping(tensor.key, scale) == pytest.approx(expected, rel=1e-4)
    assert (scale_ratio < 1) == (expected > 0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_data_brings_the_outputs_nearer_to_stock(bits):
    data = network()
    changes = []
    for calibrated in ({"input": images(64)}, None):
        narrowed, report = narrow(data, bits, calibration=calibrated)
        assert report.offenders == ()
        changes.append(compare(parse(data), parse(narrowed), [images(200, seed=1)]).relative_change)
    assert changes[0] < changes[1]


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", ["baselines/fsdd_int8", "baselines/har_sp_int8"])
def test_real_models_stay_close_with_data(name):
    data = corpus.read(name)
    file = np.load(corpus.FOLDER / "data" / ("fsdd_mfcc.npz" if "fsdd" in name else "har_sp.npz"))
    divisor = file["suggested_divisor"] if "suggested_divisor" in file else np.float32(1)
    train, test = (file[key].astype(np.float32) / divisor for key in ("x_train", "x_test"))
    narrowed, report = narrow(data, 1, calibration={"x": train[:100]})
    assert report.max_bits == 1
    model = parse(data)
    inputs = calibration.quantized_inputs(model, {"x": test})
    found = compare(model, parse(narrowed), inputs)
    assert found.top1 > 0.985
    assert found.rows == len(test)


def test_real_values_are_quantised_and_reshaped():
    model = parse(network())
    real = np.random.default_rng(0).normal(0, 1.7, (4, 192))  # a few beyond the ends
    (integers,) = calibration.quantized_inputs(model, {"anything": real})
    expected = np.clip(np.rint(real / np.float32(0.0371)) - 3, -128, 127).reshape(4, 8, 8, 3)
    np.testing.assert_array_equal(integers, expected)
    (same,) = calibration.quantized_inputs(model, {"x": integers})
    np.testing.assert_array_equal(same, integers)


def photo_network(input_type: str) -> bytes:
    """A network on images of 0..1, in integers or behind a QUANTIZE."""
    b = TFLiteBuilder()
    if input_type == "FLOAT32":
        x = b.input([1, 8, 8, 3], type="FLOAT32", scale=None)
        first = b.quantize(x, scale=1 / 255, zero_point=-128)
    else:
        x = first = b.input([1, 8, 8, 3], scale=1 / 255, zero_point=-128)
    return b.build(x, b.conv(first, 4))


@pytest.mark.parametrize("input_type", ["INT8", "FLOAT32"])
@pytest.mark.parametrize(
    ("factor", "offset", "problem"),
    [
        (255.0, 0.0, "takes 0 to 1, and the data reaches from 0"),  # pixels as they are
        (2.0, -1.0, "of it would saturate"),  # as for another network
        (1 / 255, 0.0, "it spans 0.4% of that"),  # scaled twice
    ],
)
def test_data_that_is_scaled_otherwise_is_refused_with_both_ranges(input_type, factor, offset, problem):
    real = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 3))
    real.flat[:2] = 0, 1
    data = photo_network(input_type)
    calibration.quantized_inputs(parse(data), real)
    with pytest.raises(UsageError, match=re.escape(problem)):
        narrow(data, 4, calibration=real * factor + offset)


def test_few_values_beyond_the_ends_and_coarse_ones_are_inputs():
    model = parse(photo_network("INT8"))
    real = np.random.default_rng(0).integers(0, 2, (8, 8, 8, 3)).astype(float)  # black and white
    real.flat[:7] = 1.2, 1.3, -0.4, 9, 9, 9, 9  # of 1,536
    assert calibration.quantized_inputs(model, real)[0].dtype == np.int8


def test_integers_are_what_they_are_but_for_constant_ones():
    model = parse(photo_network("INT8"))
    dim = np.random.default_rng(0).integers(-128, -126, (8, 8, 8, 3), np.int8)
    np.testing.assert_array_equal(calibration.quantized_inputs(model, dim)[0], dim)
    for constant in (np.full((8, 8, 8, 3), 7, np.int8), np.full((8, 8, 8, 3), 0.5)):
        with pytest.raises(UsageError, match="throughout, which says nothing"):
            calibration.quantized_inputs(model, constant)


def test_real_values_of_a_real_input_are_taken_in_any_precision():
    b = TFLiteBuilder()
    x = b.input([1, 4], type="FLOAT32", scale=None)
    model = parse(b.build(x, b.fully_connected(b.quantize(x), 3)))
    real = np.random.default_rng(0).normal(0, 2, (6, 4))
    (taken,) = calibration.quantized_inputs(model, {"x": real})
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, real.astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((4, 8, 8, 2), np.float32)}, r"does not take data of shape .*; give \[rows, 8, 8, 3\]"),
        ({"x": np.where(np.arange(4 * 192) == 5, np.nan, 0.5).reshape(4, 8, 8, 3)}, "not finite"),
        ({"x": np.full((4, 8, 8, 3), np.inf, np.float16)}, "not finite"),
        ({"x": np.zeros((0, 8, 8, 3), np.float32)}, "does not take data of shape"),
        ({"x": np.float32(1)}, "does not take data of shape"),
        ({"x": np.zeros((4, 8, 8, 3), np.int32)}, "does not take data of type int32"),
        ({"x": np.zeros((4, 8, 8, 3)), "y": np.zeros(3)}, "no data for inputs input; the data has arrays x, y"),
        ({}, "no data for inputs input; the data has no arrays"),
    ],
)
def test_data_that_does_not_fit(arrays, words):
    with pytest.raises(UsageError, match=words):
        narrow(network(), 1, calibration=arrays)


@pytest.mark.parametrize("content", [b"x y\n1 2\n", b"\x80\x04K\x01."], ids=["text", "pickle"])
def test_a_file_of_another_kind_is_called_so(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"and no \.npy file: it starts with .*; numpy\.savez") as caught:
        calibration.load(str(path))
    assert "pickle" not in str(caught.value)


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "text")
    with pytest.raises(UsageError, match=r"no \.npz file of arrays of numbers: notes\.txt is none"):
        calibration.load(str(path))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + bytes(18), b"PK\x03\x04damaged"])
def test_a_file_that_is_no_archive(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    if content.startswith(b"PK\x05"):
        assert calibration.load(str(path)) == {}
    else:
        with pytest.raises(UsageError, match=r"data\.npz is no \.npz file"):
            calibration.load(str(path))


def test_one_array_of_an_npy_file(tmp_path):
    rows = images(8)
    np.save(tmp_path / "rows.npy", rows)
    (loaded,) = calibration.quantized_inputs(parse(network()), calibration.load(str(tmp_path / "rows.npy")))
    np.testing.assert_array_equal(loaded, rows)


def test_pickles_are_not_loaded(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([{"a": 1}], object))
    with pytest.raises(UsageError, match="npz"):
        calibration.load(str(path))


@pytest.mark.parametrize("method", METHODS)
def test_operators_that_cannot_be_simulated_are_named(method):
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    data = b.build(x, b.unknown(b.conv(x, 3), op="CUSTOM:strange", name="odd"))
    with pytest.raises(ModelError, match=r"CUSTOM:strange \(odd\)"):
        narrow(data, 1, method, {"input": np.arange(128, dtype=np.int8).reshape(4, 4, 4, 2)})


@pytest.mark.parametrize("method", ["requantize", "keep"])
def test_a_second_signature_is_narrowed_without_data(method):
    """Data reaches the main subgraph alone; the other one is narrowed as it is without."""
    b = TFLiteBuilder(1)
    x = b.input([1, 8, 8, 3])
    model = unpack(b.build(x, b.conv(x, 4)))
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    rows = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8)
    _, report = narrow(pack(model), 1, method, rows)
    assert [(row.subgraph, row.narrow) for row in report.rows] == [(0, True), (1, True)]


def test_a_layer_that_reads_a_variable_is_narrowed_as_without_data():
    """What a variable held no trace says; the layer beside it is narrowed with data."""
    b = TFLiteBuilder(3)
    x = b.input([1, 12], zero_point=0)
    kept = b.tensor("kept", [1, 12], scale=0.0371, variable=True)
    data = b.build(x, [b.fully_connected(kept, 12, name="behind"), b.fully_connected(x, 4, name="beside")])
    rows = np.random.default_rng(0).integers(-128, 128, (50, 12), np.int8)
    without, with_data = (parse(narrow(data, 1, calibration=c, synthetic="none")[0]) for c in (None, rows))
    same = [
        np.array_equal(old.inputs[1].data, new.inputs[1].data)
        for old, new in zip(without.operators, with_data.operators, strict=True)
    ]
    assert same == [True, False]
