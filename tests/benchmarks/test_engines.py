# SPDX-License-Identifier: Apache-2.0
"""QEMU: the same ELF file as in Unicorn, the same outputs, the same count; and what engines have in common."""

import pathlib
import shutil

import numpy as np
import pytest

from tests.helpers.c_internals import translate
from tests.helpers.tflite_builder import residual_network
from tflm_export import narrow
from tflm_export.simulator import simulate

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import cycles, device  # noqa: E402
from benchmarks.emulators import (  # noqa: E402
    boards,
    execution,
    firmware,
    isa,
    qemu_engine,
    renode_engine,
    unicorn_engine,
)

QEMU = {cpu: isa.isa_of(cpu).qemu for cpu in firmware.CPUS}


def needs_qemu_of(cpu: str):
    return pytest.mark.skipif(shutil.which(QEMU[cpu]) is None, reason=f"{QEMU[cpu]} is not installed")


needs_qemu = needs_qemu_of("cortex-m4")
SIZE = 5  # of the network's output


@pytest.fixture(scope="module")
def model() -> bytes:
    return narrow(residual_network(batch=1), 1)[0]


@pytest.fixture(scope="module")
def inputs(model) -> np.ndarray:
    return device.inputs_for(model, 2, None, 1.0)[0]


def build(model, cpu: str, folder: pathlib.Path) -> firmware.Firmware:
    program = translate(model, "model", 1, core=cpu)
    return firmware.build(program, cpu, folder)


def counted(built: firmware.Firmware, inputs: np.ndarray) -> tuple[np.ndarray, float]:
    """Outputs and instructions of an inference in Unicorn."""
    ran = unicorn_engine.execute(built, ["firmware_infer"], inputs, SIZE)
    spent = sum(b.entries * cycles.count(b.code, b.address, built.cpu) for b in ran.blocks)
    return ran.outputs, spent / len(inputs)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("cpu", [pytest.param(cpu, marks=needs_qemu_of(cpu)) for cpu in firmware.CPUS])
def test_qemu_and_unicorn_agree_within_a_tick(model, inputs, cpu, tmp_path):
    built = build(model, cpu, tmp_path)
    outputs, instructions = counted(built, inputs[:1])
    ran = qemu_engine.execute(built, [], inputs[:1], SIZE)
    assert ran.resolution == boards.board_of(cpu).instructions
    around = 8 if isa.isa_of(cpu).machine == "EM_RISCV" else 0  # the call, and reading the counter
    assert abs(ran.instructions - instructions) <= ran.resolution + around
    assert instructions > 100 * ran.resolution
    expected = simulate(model, inputs[:1], "narrow", 1).outputs[0].reshape(1, -1)
    np.testing.assert_array_equal(ran.outputs, expected)
    np.testing.assert_array_equal(outputs, expected)


@needs_qemu
def test_the_engine_in_a_run(model, inputs):
    run = device.measure(residual_network(batch=1), "model", "cortex-m4", 1, inputs, engine="qemu")
    assert run.equal
    assert (run.layers, run.stack, run.total("cycles")) == ((), None, None)
    assert run.total("instructions") % 20 == 0  # the mean of two runs in ticks of 40
    assert run.to_dict()["no_cycles_because"].startswith("qemu counts instructions")
    text = device.table([run])
    assert " ± 40" in text
    assert "no modelled cycles: qemu counts instructions" in text


FAULTING = """#include <stdint.h>
#define FAULT_INPUT_BYTES 4
#define FAULT_OUTPUT_BYTES 1
void fault_invoke(const int8_t *input, int8_t *output);
"""
UNDEFINED = (
    '#include "fault.h"\nvoid fault_invoke(const int8_t *x, int8_t *y) { *y = *x; __asm__ volatile("udf #0"); }\n'
)


@pytest.mark.parametrize(
    ("engine", "name"), [pytest.param(qemu_engine, "QEMU", marks=needs_qemu), (unicorn_engine, "Unicorn")]
)
def test_a_fault_is_an_error(engine, name, tmp_path):
    files = {"fault.h": FAULTING.encode(), "fault.c": UNDEFINED.encode()}
    built = firmware.link("fault", files, "fault_invoke", (4, 1), "cortex-m4", tmp_path, "zig")
    with pytest.raises(execution.EngineError, match=f"faulted in {name}"):
        engine.execute(built, [], np.zeros((1, 4), np.int8), 1)


def test_the_console():
    lines = ["ticks 000000010000000a\n", "output 0180\n", "output ff\n", "end\n"]
    console = execution.parse(lines, "QEMU", 3)
    assert console.ticks == (1 << 32) + 10
    assert console.output.tolist() == [1, -128, -1]
    with pytest.raises(execution.EngineError, match="expected ticks and 4 output bytes"):
        execution.parse(lines, "QEMU", 4)
    with pytest.raises(execution.EngineError, match="did not end in QEMU"):
        execution.parse(lines[:-1], "QEMU", 3)
    with pytest.raises(execution.EngineError, match="faulted in QEMU"):
        execution.parse(["fault\n"], "QEMU", 3)


def test_a_program_that_does_not_end():
    command = ["sh", "-c", "echo here; exec sleep 60"]
    with pytest.raises(execution.EngineError, match="sleeper did not end within 3 seconds: here"):
        execution.watch(command, 3, lambda line: False, "sleeper")


def test_missing_engines_are_named_with_the_fix(model, inputs, tmp_path, monkeypatch):
    built = build(model, "cortex-m4", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(execution.EngineError, match=r"qemu-system-arm is not installed .*--engine unicorn"):
        qemu_engine.execute(built, [], inputs, SIZE)
    with pytest.raises(execution.EngineError, match=r"renode is not on PATH .*--engine unicorn"):
        renode_engine.execute(built, [], inputs, SIZE)
