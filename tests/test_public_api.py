# SPDX-License-Identifier: Apache-2.0
"""The public API as its callers see it: `make typecheck` holds these calls against the annotations, strictly."""

import pathlib
import typing

import numpy as np
import pytest

import tflm_export
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export.report import Report, Row

if typing.TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: object, _: object) -> object:
        return value


def test_narrow_and_check() -> None:
    stock = bytes(residual_network(batch=1))
    narrowed, report = tflm_export.narrow(stock, bits=1, method=tflm_export.METHODS[0])
    assert_type(narrowed, bytes)
    assert_type(report, Report)
    assert_type(report.rows, tuple[Row, ...])
    assert_type(report.offenders, tuple[Row, ...])
    assert_type(report.summary(), str)
    assert_type(report.table(), str)
    assert_type(tflm_export.check(narrowed, 1), Report)
    assert not tflm_export.check(narrowed, 1).offenders
    assert not tflm_export.check(tflm_export.narrow(stock, "csd2")[0], "csd2").offenders


def test_paths_and_bare_arrays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(residual_network(batch=1))
    rows = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 3), np.int8)
    narrowed, _ = tflm_export.narrow(path, 1, calibration=rows, rules=None)
    path.write_bytes(narrowed)
    assert_type(tflm_export.check(str(path), 1), Report)
    assert_type(tflm_export.factors(path), dict[str, np.ndarray])


def test_to_int8() -> None:
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 3], type="UINT8", zero_point=3)
    converted = tflm_export.to_int8(bytes(b.build(x, b.conv(x, 2, per_channel=False))), io="uint8")
    assert_type(converted, tflm_export.Conversion)
    narrowed, report = tflm_export.narrow(converted.data, 1, references=converted.references)
    assert_type(narrowed, bytes)
    assert not report.offenders


def test_rescale() -> None:
    rescale = tflm_export.Rescale(np.array([3]), np.array([2]))
    assert rescale.multiplier[0] == 3


def test_errors() -> None:
    refused: list[type[ValueError]] = [tflm_export.ModelError, tflm_export.UsageError]
    with pytest.raises(refused[0]):
        tflm_export.check(b"", 1)
    with pytest.raises(refused[1]):
        tflm_export.check(bytes(residual_network(batch=1)), 0)


if typing.TYPE_CHECKING:  # never run: what tf_keras makes has no types, but every call must have some
    import keras_rat

    def train(model: typing.Any, rows: np.ndarray) -> bytes:
        with keras_rat.quantize_scope({"Custom": object}):
            annotated = keras_rat.quantize_annotate_model(model)
        keras_rat.quantize_annotate_layer(model.layers[0], bits=4)
        scheme = keras_rat.RescaleAwareScheme({"conv": 1, ".*": 8}, "keep")
        keras_rat.quantize_apply(annotated, scheme)
        keras_rat.quantize_model(model, bits="auto", weight_bits={"conv": 4, ".*": 8}, data=rows, max_drop=0.02)
        choice = assert_type(keras_rat.choose_bits(model, rows, bits={"conv": "auto", ".*": 8}), keras_rat.Choice)
        keras_rat.quantize_model(model, choice.bits)
        trained = keras_rat.quantize_model(keras_rat.from_keras3(model), bits=1, weight_bits=4)
        keras_rat.calibrate(trained, rows, batch_size=8)
        return assert_type(keras_rat.convert(trained), bytes)
