# SPDX-License-Identifier: Apache-2.0
"""SUM: factor Sx/Sy on sums."""

import numpy as np
import pytest

from tests.helpers import runtimes
from tests.helpers.narrowed import NarrowedTests, scale
from tests.helpers.operators import A16, activation, indices, one_operator
from tests.helpers.tflite_builder import TFLiteBuilder
from tests.helpers.weighted import bounds
from tflm_export import narrow
from tflm_export.flatbuffer.model import parse
from tflm_export.runtimes import litert_module
from tflm_export.simulator import simulate


def summed(b: TFLiteBuilder, x: int, axes, shape, keep=False, **options) -> int:
    """The builder's derived operator on axes."""
    positions = b.tensor("axes", [len(axes)], type="INT32", data=axes)
    y = b.tensor("sum", shape, type=b.type(x), **options)
    b.operator("SUM", [x, positions], [y], 2, keepDims=keep)
    return y


def behind_a_layer(type="INT8") -> bytes:
    b = TFLiteBuilder()
    zero, small = (0, 1 / 256) if type == "INT16" else (-3, 1.0)
    x = b.input([1, 6, 5, 3], type=type, scale=0.0371 * small, zero_point=zero)
    y = b.conv(x, 4, scale=0.0529 * small, zero_point=zero)
    return b.build(x, summed(b, y, [1, 2], [1, 4], scale=0.371 * small, zero_point=zero))


def before_a_layer() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 6, 5, 3])
    y = summed(b, x, [2], [1, 6, 1, 3], keep=True, scale=0.0923, zero_point=4)
    return b.build(x, b.conv(y, 3))


class TestSum(NarrowedTests):
    op = "SUM"
    models = {  # noqa: RUF012
        "layer moves": behind_a_layer(),
        "output moves": before_a_layer(),
        "int16": behind_a_layer("INT16"),
    }
    change = {1: 0.3, 2: 0.2, 4: 0.1, 8: 0.05}  # noqa: RUF012
    runtimes = ("tflm",)
    rounding = "tflm"

    def factors(self, operator):
        return [scale(operator.inputs[0]) / scale(operator.outputs[0])]


def test_worst_case_is_the_sum_of_the_farthest_inputs():
    narrowed, _ = narrow(before_a_layer(), 2)
    assert bounds(narrowed, "SUM", 2).accumulator == 5 * 130


@pytest.mark.parametrize("bits", [31, 4, 1])
def test_the_reference_kernel_takes_int8_for_uint8(bits):
    """And the simulation of it, bit for bit."""
    data = behind_a_layer() if bits == 31 else narrow(behind_a_layer(), bits)[0]
    rows = runtimes.random_rows(parse(data), 4)
    assert not runtimes.differences(data, rows, "tflite")
    outputs = {rounding: simulate(data, rows[0], rounding).outputs[0] for rounding in ("tflite", "tflm")}
    assert (outputs["tflite"] != outputs["tflm"]).any()


@pytest.mark.parametrize("type", ["INT8", "INT16"])
def test_default_kernels_equal_the_exact_sum(type):
    """Within the step that their own arithmetic may be off."""
    x = A16 if type == "INT16" else activation(0.031, -7)
    y = activation(0.0031, 0, (1, 4), type) if type == "INT16" else activation(0.31, 3, (1, 4))
    data = one_operator("SUM", [x, indices([1, 2])], y, 2, "ReducerOptions")
    ((row,),) = runtimes.random_rows(parse(data), 1)
    interpreter = litert_module().Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, row)
    interpreter.invoke()
    theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(np.int64)
    ours = simulate(data, row, "tflm").outputs[0].astype(np.int64)
    assert ours.std() > 10
    assert np.abs(ours - theirs).max() <= 1


class TestUint8:
    @pytest.mark.parametrize("rows", [1, 4])
    def test_equals_litert(self, rows):
        x, y = activation(0.031, 121, type="UINT8"), activation(0.41, 80, (1, 4), "UINT8")
        data = one_operator("SUM", [x, indices([1, 2])], y, 2, "ReducerOptions")
        assert not runtimes.differences(data, runtimes.random_rows(parse(data), rows), "tflite")
