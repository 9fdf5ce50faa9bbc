# SPDX-License-Identifier: Apache-2.0
"""Shared set-up: quiet TensorFlow, property tests that are the same in every run and leave no files behind, and tests
that skip where the data folder lacks their file: `make data` cannot fetch all that it may hold.
"""

import os
import pathlib

import hypothesis
import pytest

from benchmarks.datasets import data_folder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many of these as cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

pytest.register_assert_rewrite("tests.helpers")
from tests.helpers import sweeps  # noqa: E402

hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    sweeps.thin_out(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except FileNotFoundError as error:
        folder = data_folder()
        if folder is None or folder not in pathlib.Path(error.filename or "").parents:
            raise
        pytest.skip(f"the data folder lacks {error.filename}")
