# SPDX-License-Identifier: Apache-2.0
"""What people pass to the library for a model and for data: paths, bytes of any kind, bare arrays."""

import numpy as np
import pytest

from tests.helpers.tflite_builder import residual_network
from tflm_export import UsageError, check, factors, narrow
from tflm_export.flatbuffer.model import parse

NETWORK = residual_network(batch=1)
ROWS = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(NETWORK)
    return path


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path(path, kind):
    assert narrow(kind(path), 1) == narrow(NETWORK, 1)
    assert check(kind(path), 1) == check(NETWORK, 1)
    assert factors(kind(path)).keys() == factors(NETWORK).keys()
    assert parse(kind(path)).data == NETWORK


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_bytes(kind):
    assert narrow(kind(NETWORK), 1) == narrow(NETWORK, 1)


@pytest.mark.parametrize("function", [lambda model: narrow(model, 1), lambda model: check(model, 1), factors, parse])
def test_what_is_no_model(function):
    with pytest.raises(UsageError, match=r"cannot read missing\.tflite: No such file"):
        function("missing.tflite")
    for other in (None, 1, [NETWORK], np.frombuffer(NETWORK, np.uint8), parse(NETWORK)):
        with pytest.raises(UsageError, match=r"a \.tflite file is given as bytes or as a path, got "):
            function(other)


def test_an_array_as_calibration():
    assert narrow(NETWORK, 1, calibration=ROWS) == narrow(NETWORK, 1, calibration={"x": ROWS})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ROWS.tolist(), "takes an array, or a dict of arrays by input name, got list"),
        ("rows.npz", "takes an array, or a dict of arrays by input name, got str"),
        ({"x": ROWS.tolist()}, "takes numpy arrays, got x: list"),
        ({"x": None}, "takes numpy arrays, got x: NoneType"),
    ],
)
def test_what_is_no_calibration_data(data, words):
    with pytest.raises(UsageError, match=words):
        narrow(NETWORK, 1, calibration=data)
