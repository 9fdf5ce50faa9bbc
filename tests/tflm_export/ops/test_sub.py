# SPDX-License-Identifier: Apache-2.0
"""SUB: as ADD, with the sign of the second term turned after its rescale."""

import numpy as np
import pytest

from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds, edited
from tflm_export import ModelError, narrow

SHAPE = (1, 6, 6, 3)
OPTIONS = {"potScaleInt16": False}


def branches(**options) -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    operands = [b.conv(x, 5, name="a", scale=0.0311), b.conv(x, 5, 1, name="b", scale=0.0473)]
    return b.build(x, b.derived("SUB", operands, **OPTIONS, **options))


def skip() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.derived("SUB", [x, b.conv(x, 3)], **OPTIONS)
    return b.build(x, b.conv(y, 2, name="last"))


def constant() -> bytes:
    b = TFLiteBuilder()
    x = b.input(SHAPE)
    y = b.derived("SUB", [b.constant([3]), b.conv(x, 3)], **OPTIONS)
    return b.build(x, b.conv(y, 2, name="last"))


def of_inputs(**options) -> bytes:
    """Two int16 inputs, as powers of two."""
    b = TFLiteBuilder()
    operands = [b.input([1, 8], type="INT16", scale=s, zero_point=0, name=n) for n, s in (("a", 2.0**-11), ("b", 2e-3))]
    y = b.derived("SUB", operands, scale=0.003, zero_point=0, **options)
    z = b.derived("LEAKY_RELU", [y], scale=0.0021, zero_point=0, alpha=0.0)
    return b.build(operands, z)


class TestSub(NarrowedTests):
    op = "SUB"
    models = {"branches": branches(), "relu": branches(activation="RELU"), "skip": skip(), "constant": constant()}  # noqa: RUF012

    def factors(self, operator):
        return [scale(t) / scale(operator.outputs[0]) for t in operator.inputs]


@pytest.mark.parametrize("bits", [1, 8])
def test_worst_case_bounds_every_pair_of_inputs(bits):
    narrowed, _ = narrow(branches(), bits)
    bound = bounds(narrowed, "SUB", bits)
    np.testing.assert_array_equal(bound.accumulator, [135, 135])


def test_int16_terms_of_powers_of_two_keep_their_scales():
    """LiteRT shifts them instead of rescaling, where an option that is set by default says so."""
    with pytest.raises(ModelError, match="no powers of two"):
        narrow(of_inputs(potScaleInt16=True), 2)

    def powers(model, graph, tensors):
        tensors["b"].quantization.scale = [2.0**-9]
        tensors["sub"].quantization.scale = [2.0**-8]

    data = edited(of_inputs(potScaleInt16=True), powers)
    _, report = narrow(data, 2, "keep")
    assert [row.op for row in report.offenders] == ["LEAKY_RELU"]
