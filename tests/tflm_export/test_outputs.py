# SPDX-License-Identifier: Apache-2.0
"""The files of a narrowing from Python: what they hold, and that they appear together or not at all."""

import json

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.tflite_builder import residual_network
from tflm_export import c, cc_array, metadata, narrow
from tflm_export.errors import UsageError
from tflm_export.outputs import Outputs, default_path
from tflm_export.simulator import simulate

NARROWED, REPORT = narrow(residual_network(), 2)


@pytest.mark.parametrize(
    ("model", "path"), [("a/m.tflite", "a/m_k2.tflite"), ("m.v1.tfl", "m.v1_k2.tfl"), ("m", "m_k2.tflite")]
)
def test_default_path(model, path):
    assert default_path(model, "k2") == path


def everything(folder, **changes) -> Outputs:
    settings = {
        "model": str(folder / "net.tflite"),
        "report": str(folder / "net.json"),
        "array_folder": str(folder),
        "source_folder": str(folder),
    }
    return Outputs(**settings | changes)


def test_every_file_is_what_its_module_makes(tmp_path):
    written = everything(tmp_path).write(NARROWED, REPORT)
    expected = {"net.tflite": metadata.attach(NARROWED, REPORT)}
    expected |= cc_array.sources(expected["net.tflite"], "net.tflite")
    expected |= c.emit(expected["net.tflite"], "net", 2)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert json.loads(found.pop("net.json")) == json.loads(json.dumps(REPORT.to_dict()))
    assert found == expected
    assert written.model == expected["net.tflite"]


@native.requires_gcc
def test_c_source_of_several_widths(tmp_path):
    data, report = narrow(residual_network(batch=1), 1, rules={0: 8, "pointwise": 3, "logits": 16})
    assert {row.bits for row in report.rows} == {1, 3, 8, 16}
    everything(tmp_path, array_folder=None).write(data, report)
    library = native.library({path.name: path.read_bytes() for path in tmp_path.glob("n*.[ch]")})
    rows = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 3)).astype(np.int8)
    for row, expected in zip(rows, simulate(data, rows, "narrow").outputs[0], strict=True):
        np.testing.assert_array_equal(native.call("net_invoke", row, output_size=5, library=library), expected)


def test_c_source_of_widths_that_scales_do_not_tell_apart(tmp_path):
    data, report = narrow(residual_network(), 18, rules={0: 20})
    with pytest.raises(UsageError, match=r"one width above 16 bits.* has 18, 20"):
        everything(tmp_path).write(data, report)
    assert list(tmp_path.iterdir()) == []


def test_without_metadata_the_model_is_the_narrowed_file(tmp_path):
    path = tmp_path / "net.tflite"
    Outputs(str(path), with_metadata=False).write(NARROWED, REPORT)
    assert path.read_bytes() == NARROWED


@pytest.mark.parametrize("name", ["net.tflite", "net.json", "net_model_data.cc"])
def test_check_refuses_files_that_exist(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UsageError, match=f"{name} exists already"):
        everything(tmp_path).check()
    everything(tmp_path, overwrite=True).check()


def test_a_source_that_exists_keeps_all_files_from_being_written(tmp_path):
    (tmp_path / "narrow_kernels.h").write_bytes(b"precious")
    wanted = everything(tmp_path)
    wanted.check()  # which kernels a model needs is known later
    with pytest.raises(UsageError, match=r"narrow_kernels\.h exists already"):
        wanted.write(NARROWED, REPORT)
    assert [path.name for path in tmp_path.iterdir()] == ["narrow_kernels.h"]
