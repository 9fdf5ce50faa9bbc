# SPDX-License-Identifier: Apache-2.0
"""Models of any inputs and outputs, and with state, on this machine and on emulated cores."""

import types

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.c_internals import translate
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import UsageError, verify
from tflm_export.flatbuffer.model import parse
from tflm_export.program.value import Value
from tflm_export.simulator import simulate

for module in ("unicorn", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import device  # noqa: E402
from benchmarks.emulators import execution, firmware, host, qemu_engine  # noqa: E402
from benchmarks.emulators.borders import Borders  # noqa: E402


def several() -> bytes:
    """Two inputs of two types, and four outputs: int8, int32, float32 and one of the inputs."""
    b = TFLiteBuilder(2)
    x, y = b.input([1, 5, 3, 2], name="x"), b.input([1, 3], name="y", type="INT16", scale=1 / 4096, zero_point=0)
    total = b.add(x, b.constant([2]))
    axis = b.tensor("axis", [1], type="INT32", data=[3])
    largest = b.tensor("largest", [1, 5, 3], type="INT32")
    b.operator("ARG_MAX", [total, axis], [largest])
    real = b.tensor("real", [1, 3], type="FLOAT32")
    b.operator("DEQUANTIZE", [y], [real])
    return b.build([x, y], [total, largest, real, y])


def remembering() -> bytes:
    """A dense layer of the input and of what it was in the inference before."""
    b = TFLiteBuilder(3)
    x = b.input([1, 6])
    handle, before = b.tensor("handle", [1], type="INT32"), b.tensor("before", [1, 6], scale=0.0371, zero_point=-3)
    b.operator("VAR_HANDLE", [], [handle])
    b.operator("READ_VARIABLE", [handle], [before])
    y = b.fully_connected(b.concat([x, before]), 5, per_channel=True)
    b.operator("ASSIGN_VARIABLE", [handle, x], [])
    return b.build(x, y)


@pytest.mark.parametrize("data", [several(), remembering()], ids=["several", "remembering"])
@pytest.mark.parametrize("cpu", sampled(["cortex-m0plus", "cortex-m4"], 2))
def test_a_device_run_equals_the_simulator(data, cpu):
    inputs, _ = device.inputs_for(data, 4, None, 1.0)
    run = device.measure(data, "model", cpu, "stock", inputs)
    assert run.equal
    assert run.samples == 4


def test_rows_of_a_model_that_keeps_state_run_in_one_go(tmp_path):
    built = firmware.build(translate(remembering(), "m", 31, "tflm", "cortex-m4"), "cortex-m4", tmp_path)
    with pytest.raises(UsageError, match=r"m keeps state .*--engine unicorn"):
        qemu_engine.execute(built, [], np.zeros((2, 6), np.int8), 6)


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("compiler", list(host.COMPILERS))
@pytest.mark.parametrize("data", [several(), remembering()], ids=["several", "remembering"])
def test_the_host_equals_the_simulator(data, compiler, tmp_path):
    inputs = verify.random_inputs(parse(data), 5)
    expected = simulate(data, inputs, "tflm").outputs
    outputs = host.run(translate(data, "m", 31, "tflm"), inputs, 5, compiler, tmp_path, 100)
    for found, wanted in zip(outputs, expected, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted.reshape(5, -1))


@native.requires_gcc
def test_what_a_sanitizer_finds_is_an_error(tmp_path):
    x = np.zeros((1, 30), np.int8)
    values = (Value("x", x.dtype, (1, 30)),)
    header = b"#include <stdint.h>\nvoid m_invoke(const int8_t *x, int8_t *y);\n"
    behind = b'#include "m.h"\nvoid m_invoke(const int8_t *x, int8_t *y) { *y = x[30]; }\n'
    for source, error, said in (
        (behind, execution.EngineError, "AddressSanitizer: heap-buffer-overflow"),
        (b"int x = 1.5f;\n", firmware.BuildError, "gcc failed"),
    ):
        files = {"m.h": header, "m.c": source}
        broken = types.SimpleNamespace(name="m", inputs=values, outputs=values, files=lambda files=files: files)
        with pytest.raises(error, match=said):
            host.run(broken, [x], 1, "gcc", tmp_path, 100)


def test_bytes_and_back():
    """Values from multiples of 8 on, in their own types; any model's."""
    program = translate(several(), "m", 31, "tflm")
    borders = Borders.of(program)
    assert borders.sizes == (32 + 6, 32 + 64 + 16 + 6)
    packed = borders.pack([np.arange(60, dtype=np.int8), np.arange(6, dtype=np.int16)], 2)
    assert packed.shape == (2, 38)
    assert packed[1, :30].tolist() == list(range(30, 60))
    assert packed[1, 32:].view(np.int16).tolist() == [3, 4, 5]
    random = np.random.default_rng(0)
    found = borders.unpack(random.integers(-128, 128, (2, borders.sizes[1])).astype(np.int8))
    assert [(a.dtype.name, a.shape) for a in found] == [
        ("int8", (2, 30)), ("int32", (2, 15)), ("float32", (2, 3)), ("int16", (2, 3)),
    ]  # fmt: skip
