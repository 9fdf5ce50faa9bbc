"""Shared set-up: quiet TensorFlow, and property tests that are the same in every run and leave no files behind."""

import os

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

pytest.register_assert_rewrite("tests.helpers")
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("repeatable")
