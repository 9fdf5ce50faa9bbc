# SPDX-License-Identifier: Apache-2.0
"""What a program sees of a model: names, contexts, start values, several inputs and outputs, the table of layers."""

import ctypes

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.programs import Compiled
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import ModelError
from tflm_export.c import UnwritableError
from tflm_export.c.literals import field_names
from tflm_export.program.value import Value
from tflm_export.simulator import simulate

pytestmark = native.requires_gcc


def value(name: str) -> Value:
    return Value(name, np.dtype(np.int8), (1,), name)


@pytest.mark.parametrize(
    ("tensors", "fields"),
    [
        (["serving_default_x:0", "serving_default_y:0"], ["serving_default_x_0", "serving_default_y_0"]),
        (["a/b", "a.b", "a b", "A B"], ["a_b", "a_b_2", "a_b_3", "A_B_4"]),
        (["", "1st", "int", "__", "class"], ["tensor_0", "t_1st", "int_", "tensor_3", "class_"]),
        (["int_", "int"], ["int_", "int__2"]),
    ],
)
def test_fields_have_the_names_of_tensors(tensors, fields):
    assert field_names([value(name) for name in tensors]) == fields


def several() -> bytes:
    """Two inputs, and four outputs: computed, one of them read by another layer, an input, a constant, one twice."""
    b = TFLiteBuilder(2)
    first, second = b.input([1, 4, 4, 2], name="left"), b.input([1, 4, 4, 2], name="right")
    total = b.add(first, second, name="sum")
    return b.build([first, second], [total, b.conv(total, 3, name="conv"), second, total])


@pytest.mark.parametrize("core", ["portable", "cortex-m4", "cortex-m0plus"])
def test_several_inputs_and_outputs(core):
    data = several()
    program = translate(data, "m", 1, core=core)
    context = Compiled(program).start()
    assert [v.name for v in program.inputs] == ["left", "right"]
    for seed in range(3):
        random = np.random.default_rng(seed)
        inputs = [random.integers(-128, 128, v.shape).astype(np.int8) for v in program.inputs]
        expected = simulate(data, inputs, "narrow", 1).outputs
        for found, wanted in zip(context.invoke(*inputs), expected, strict=True):
            np.testing.assert_array_equal(found, wanted.reshape(found.shape))


def test_contexts_refuse_memory_that_does_not_do():
    compiled = Compiled(translate(several(), "m", 1))
    init = compiled.library.m_context_init
    size, alignment = compiled.program.placement.bytes, compiled.program.placement.alignment
    memory = np.zeros(size + 2 * alignment, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % alignment
    context = (ctypes.c_int64 * 2)()

    def given(address, count):
        return init(context, ctypes.c_void_p(address), ctypes.c_size_t(count))

    assert given(start, size) == 0
    assert given(start, size - 1) == -1
    assert given(start + 1, size) == -1
    assert given(0, size) == -1


def test_layers_are_listed():
    compiled = Compiled(translate(several(), "m", 1))

    class Layer(ctypes.Structure):
        _fields_ = [
            ("function", ctypes.c_char_p),
            ("op", ctypes.c_char_p),
            ("multiplications", ctypes.c_uint32),
            ("constant_bytes", ctypes.c_uint32),
        ]

    layers = (Layer * 2).in_dll(compiled.library, "m_layers")
    found = [(layer.function, layer.op, layer.multiplications) for layer in layers]
    kernel = 3 * 3 * 2 * 3
    assert found == [(b"m_0_add", b"ADD", 0), (b"m_1_conv_2d", b"CONV_2D", 16 * kernel)]
    assert [layer.constant_bytes for layer in layers] == [step.constant_bytes for step in compiled.program.steps]


def test_of_a_tensor_that_is_two_inputs_the_second_one_counts():
    """As in the simulator."""
    b = TFLiteBuilder()
    x = b.input([1, 4])
    data = b.build([x, x], b.add(x, b.constant([4])))
    inputs = [np.array([[1, 2, 3, 4]], np.int8), np.array([[50, 60, -70, -80]], np.int8)]
    (found,) = Compiled(translate(data, "m", 1)).start().invoke(*inputs)
    np.testing.assert_array_equal(found, simulate(data, inputs, "narrow", 1).outputs[0])


def test_inputs_that_are_computed_are_refused():
    b = TFLiteBuilder()
    x, y = b.input([1, 4]), b.input([1, 4], name="y")
    b.operator("ABS", [x], [y])
    with pytest.raises(ModelError, match=r"ABS \(y\) computes y, which is an input"):
        translate(b.build([x, y], y), "m", 1)


def test_the_first_problems_are_in_the_message_and_all_in_the_error():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    for i in range(7):
        x = b.unknown(x, op="CUSTOM:strange", name=f"y{i}")
    with pytest.raises(UnwritableError, match=r"operator 0 .*; operator 4 .*; and 2 more$") as raised:
        translate(b.build(x, b.conv(x, 2)), "m", 1)
    assert [problem.op for problem in raised.value.problems] == ["CUSTOM:strange"] * 7


def test_what_leaves_operators_at_the_ends_to_the_caller_is_said():
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.unknown(b.conv(x, 3), op="CUSTOM:strange")
    with pytest.raises(UnwritableError, match=r"--io int8 \(has_integer_borders\) leaves operator 1 to the caller$"):
        translate(b.build(x, y), "m", 1)
