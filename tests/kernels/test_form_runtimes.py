# SPDX-License-Identifier: Apache-2.0
"""The general kernels against the runtimes themselves: layer by layer, on what the runtime gave its layers."""

import numpy as np
import pytest

from tests.helpers import exact, native
from tests.helpers.c_steps import CompiledSteps, step_of
from tests.helpers.tflite_builder import TFLiteBuilder, schema
from tests.tflm_export.ops.test_activation_types import network
from tests.tflm_export.ops.test_batch_matmul import attention
from tflm_export.arithmetic import LiteRTReference, Tflm
from tflm_export.c.forms import GENERAL
from tflm_export.flatbuffer.model import parse
from tflm_export.lowering import forms_of
from tflm_export.program.matrix_product import MatrixProduct
from tflm_export.program.pool import AveragePool, MaxPool
from tflm_export.program.weighted_sum import WeightedSum
from tflm_export.rescale import RealRescale

pytestmark = native.requires_gcc
FORMS = (WeightedSum, MatrixProduct, AveragePool, MaxPool)
WIDE = {"type": "INT16", "zero_point": 0}


def windowed(kind="INT8", **layer) -> bytes:
    """A transposed convolution, a pool and a depthwise convolution with a multiplier."""
    b = TFLiteBuilder()
    small, zero = (1 / 256, {"zero_point": 0}) if kind == "INT16" else (1.0, {})
    x = b.input([2, 4, 5, 3], type=kind, scale=0.0371 * small, **zero)
    y = b.transpose_conv(x, 4, 4, scale=0.0577 * small, **zero, **layer)
    y = b.pool(y, "AVERAGE")
    y = b.depthwise(y, 2, 3, scale=0.0613 * small, padding="VALID", **zero, **layer)
    return b.build(x, b.pool(y, "MAX"))


def grouped() -> bytes:
    """A convolution of two groups, dilated."""
    b = TFLiteBuilder()
    x = b.input([1, 7, 6, 4])
    w, bias = b.weights(x, [6, 3, 3, 2], 0, 18, "w", None, True, True, 0.0529)
    y = b.tensor("y", [1, 7, 6, 6], scale=0.0529, zero_point=7)
    options = {"padding": schema.Padding.SAME, "strideW": 1, "strideH": 1, "dilationHFactor": 2, "dilationWFactor": 1}
    b.operator("CONV_2D", [x, w, bias], [y], 5, activation="NONE", **options)
    return b.build(x, y)


MODELS = {
    "uint8 network": (network("UINT8", per_channel=False), "LiteRT"),
    "int16 network": (network("INT16"), "LiteRT"),
    "int16 network, TFLM": (network("INT16"), "TFLM"),
    "windows": (windowed(), "LiteRT"),
    "windows, TFLM": (windowed(), "TFLM"),
    "windows, per tensor": (windowed(per_channel=False), "LiteRT"),
    "windows, int16": (windowed("INT16"), "LiteRT"),
    "groups": (grouped(), "LiteRT"),
    **{f"products, {x}{y}": (attention(adj_x=x, adj_y=y), "LiteRT") for x in (False, True) for y in (False, True)},
    "products, int16": (attention("INT16"), "LiteRT"),
    "products, TFLM": (attention(constant=True, adj_y=True), "TFLM"),
}
ARITHMETICS = {"LiteRT": LiteRTReference(), "TFLM": Tflm()}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", MODELS)
def test_layers_equal_the_runtimes(name):
    data, runtime = MODELS[name]
    forms = [
        form
        for operator in parse(data).operators
        for form in forms_of(operator, ARITHMETICS[runtime])
        if isinstance(form, FORMS) and not isinstance(getattr(form, "rescale", None), RealRescale)
    ]
    assert forms
    compiled = CompiledSteps([GENERAL[type(form)](step_of(form)) for form in forms])
    shown = exact.exposed(data)
    graph = parse(shown).subgraphs[0]
    (x,) = (form for form in parse(data).subgraphs[0].inputs)
    limits = np.iinfo(x.type.lower())
    given = np.random.default_rng(0).integers(limits.min, limits.max + 1, x.shape).astype(limits.dtype)
    outputs = exact.RUNTIMES[runtime](shown, given)
    values = {x.key: given} | {t.key: y for t, y in zip(graph.outputs, outputs, strict=True)}
    for index, form in enumerate(forms):
        (y,) = compiled.run(index, *(values[value.key] for value in form.inputs if value.data is None))
        np.testing.assert_array_equal(y, values[form.output.key], form.output.name)
