# SPDX-License-Identifier: Apache-2.0
"""KERAS_RAT_DATA alone says where data is."""

import pathlib

import pytest

from benchmarks import datasets, tasks
from tflm_export import UsageError


def test_without_the_variable_there_is_no_folder(monkeypatch):
    """Whatever lies beside the checkout."""
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(pathlib.Path, "is_dir", lambda path: True)
    assert datasets.data_folder() is None
    assert set(tasks.available()) == set(tasks.usual()) == {"digits", "digits_autoencoder"}
    with pytest.raises(UsageError, match="no data folder for mnist; set KERAS_RAT_DATA"):
        datasets.mnist()


def test_it_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path))
    assert datasets.data_folder() == tmp_path
    assert "mnist" in tasks.usual()
    assert "digits" in tasks.available()  # which need no data
    assert "digits" not in tasks.usual()
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"KERAS_RAT_DATA names no folder: .*gone"):
        datasets.data_folder()
