# SPDX-License-Identifier: Apache-2.0
"""The general kernels on real models: what upstream published, and every layer against the simulator."""

import numpy as np
import pytest

from tests.helpers import corpus, native
from tests.helpers.c_steps import CompiledSteps, is_read
from tests.helpers.held_forms import random_input
from tflm_export import lowering, narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.c.forms import GENERAL
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.recurrence import Lstm, Svdf
from tflm_export.program.weighted_sum import WeightedSum

pytestmark = native.requires_gcc
FORMS = (WeightedSum, MatrixProduct, AveragePool, MaxPool, Svdf, Lstm)
FRAMES = 3


@pytest.mark.parametrize("name", [name for name in corpus.GOLDEN if "conv" in name])
def test_what_upstream_published(name):
    """int16 inputs and outputs of layers of a speech model, and of the kernels of its time."""
    data = corpus.read(f"models/tflite-micro__{name}")
    inputs, golden = corpus.published(name, data)
    (step,) = lowering.lower(parse(data), Tflm()).main.steps
    given = inputs[1] if corpus.GOLDEN[name] else inputs[0]
    (y,) = CompiledSteps([GENERAL[type(step.form)](step)]).run(0, given)
    np.testing.assert_array_equal(y.reshape(golden.shape), golden)


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    "name",
    [
        "coral__keras_lstm_mnist_ptq",
        "coral__mobilenet_v1_0.25_128_quant",
        "tflite-micro__dtln_noise_suppression",
        "tflite-micro__keyword_scrambled",
        "tflite-micro__trained_lstm_int8",
    ],
)
def test_every_layer_of_a_model(name):
    """Of the narrowed model, on what the simulator gives it, frame by frame where there is state."""
    data, _ = narrow(corpus.read(f"models/{name}"), 8)
    program = lowering.lower(parse(data), Narrow(Grid(8)))
    steps = [step for step in program.main.steps if isinstance(step.form, FORMS)]
    compiled = CompiledSteps([GENERAL[type(step.form)](step) for step in steps])
    random, variables = np.random.default_rng(0), {}
    for _ in range(FRAMES):
        values = {value.key: _input(random, value)[None] for value in program.main.inputs}
        for step in program.main.steps:
            form = step.form
            inputs = [
                variables.get(v.key, v.data[None]) if v.is_variable else v.among(values) for v in form.inputs
            ]  # fmt: skip
            outputs = step.evaluate(*inputs)
            for value, array in zip(form.outputs, outputs, strict=True):
                (variables if value.is_variable else values)[value.key] = array
            if step in steps:
                given = [array[0] for array, value in zip(inputs, form.inputs, strict=True) if is_read(value)]
                found = compiled.run(steps.index(step), *given)
                for y, expected in zip(found, outputs, strict=True):
                    np.testing.assert_array_equal(y, expected[0], step.origin.label)


def _input(random, value) -> np.ndarray:
    """A frame; small numbers where it is real."""
    if value.dtype == np.float32:
        return random.normal(size=value.shape).astype(np.float32)
    return random_input(random, value)
