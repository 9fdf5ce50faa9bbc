# SPDX-License-Identifier: Apache-2.0
"""The examples of CONTRIBUTING.md work: a rounding in one file, a back end that prints."""

import pathlib
import re

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.programs import Compiled, random_inputs
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import c, narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.lowering import lower
from tflm_export.simulator import simulate

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def examples() -> dict:
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    return names


@pytest.fixture(scope="module")
def data() -> bytes:
    return residual_network(batch=1)


def test_a_rounding_is_one_file(examples):
    """A quarter of every int8, rounded once, and twice: x / 2 halves up, then halves away from zero."""
    b = TFLiteBuilder()
    x = b.input([1, 256], scale=0.25, zero_point=0)
    quarter = b.build(x, b.quantize(x, scale=1.0, zero_point=0))
    every = np.arange(-128, 128)
    rows, arithmetics = every[None].astype(np.int8), (examples["SingleRounding"](), Tflm())
    single, double = (simulate(quarter, rows, arithmetic).outputs[0][0] for arithmetic in arithmetics)
    half = np.floor(every / 2 + 0.5)
    np.testing.assert_array_equal(single, np.floor(every / 4 + 0.5))
    np.testing.assert_array_equal(double, np.copysign(np.floor(np.abs(half) / 2 + 0.5), half))
    assert (single != double).any()


def test_a_rounding_is_that_of_means_too(examples):
    """Of four numbers, at twice the scale: eighths of sums."""
    b = TFLiteBuilder()
    x = b.input([1, 2, 2, 1], scale=1.0, zero_point=0)
    data = b.build(x, b.mean(x, scale=2.0, zero_point=0))
    sums = np.arange(-16, 17)
    rows = np.stack([sums // 2, sums - sums // 2, 0 * sums, 0 * sums], 1).reshape(-1, 2, 2, 1).astype(np.int8)
    single = simulate(data, rows, examples["SingleRounding"]()).outputs[0].reshape(-1)
    np.testing.assert_array_equal(single, np.floor(sums / 8 + 0.5))
    assert (single != simulate(data, rows, Tflm()).outputs[0].reshape(-1)).any()


@native.requires_gcc
def test_c_rounds_like_that(examples, data):
    """Layers, and a sum of two values."""
    arithmetic = examples["SingleRounding"]()
    compiled = Compiled(c.translate(data, "model", arithmetic))
    assert "ADD" in {step.origin.name for step in compiled.program.steps}
    for row in random_inputs(compiled.program, 8):
        found = compiled.invoke(row)
        np.testing.assert_array_equal(found, simulate(data, row, arithmetic).outputs[0].reshape(found.shape))


def test_a_back_end_is_a_map_from_forms(examples, data):
    narrowed, _ = narrow(data, 1)
    lines = examples["listing"](lower(parse(narrowed), Narrow(Grid(1)))).splitlines()
    assert len(lines) == len(list(parse(narrowed).operators))
    assert re.fullmatch(r"operator 0 CONV_2D \(.*\): WeightedSum m 1\.\.1 s \d+\.\.\d+", lines[0])


def test_files_and_methods_that_are_named_exist():
    for path in re.findall(r"`((?:tflm_export|keras_rat|tests|docs)/[\w/]+\.\w+)`", TEXT):
        assert (ROOT / path).is_file(), path
    for method in ("snap", "contains", "recover", "recover_held"):
        assert f"`{method}`" in TEXT
        assert callable(getattr(Grid, method))
