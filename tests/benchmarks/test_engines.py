# SPDX-License-Identifier: Apache-2.0
"""QEMU and Renode: the same ELF file as in Unicorn, the same outputs, the same count."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.c_internals import translate
from tests.helpers.tflite_builder import residual_network
from tflm_export import cores, narrow
from tflm_export.simulator import simulate

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import cycles, device  # noqa: E402
from benchmarks.emulators import (  # noqa: E402
    boards,
    execution,
    firmware,
    qemu_engine,
    renode_engine,
    unicorn_engine,
)

needs_qemu = pytest.mark.skipif(shutil.which(qemu_engine.PROGRAM) is None, reason="qemu-system-arm is not installed")
SIZE = 5  # of the network's output
REPOSITORY = pathlib.Path(__file__).parents[2]


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
    return ran.outputs, sum(b.entries * cycles.count(b.code, b.address) for b in ran.blocks) / len(inputs)


@needs_qemu
@pytest.mark.parametrize("cpu", firmware.CPUS)
def test_qemu_and_unicorn_agree_within_a_tick(model, inputs, cpu, tmp_path):
    built = build(model, cpu, tmp_path)
    outputs, instructions = counted(built, inputs[:1])
    ran = qemu_engine.execute(built, [], inputs[:1], SIZE)
    assert ran.resolution == boards.board_of(cpu).instructions
    assert abs(ran.instructions - instructions) <= ran.resolution
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


# Renode is not on PyPI. What follows checks our files against a part of its languages, and the driver against a
# program that reads the same script and runs Unicorn; neither shows that Renode runs them.

# Types of Renode, and which of their parameters and properties we set.
TYPES = {
    "CPU.CortexM": {"cpuType", "nvic", "PerformanceInMips"},
    "IRQControllers.NVIC": {"systickFrequency"},
    "Memory.MappedMemory": {"size"},
    "UART.CMSDK_APB_UART": {"frequency"},
}
ENTRY = re.compile(r"(?P<name>[a-z]\w*): (?P<type>\w+\.\w+) @ sysbus(?: (?P<address>0x[0-9A-F]+))?")
ATTRIBUTE = re.compile(r"    (?P<name>\w+): (?P<value>\"[\w+-]+\"|0x[0-9a-f]+|\d+|[a-z]\w*)")
INTERRUPT = re.compile(r"    -> (?P<target>\w+)@\d+")
COMMANDS = {"mach", "machine", "include", "using", "sysbus", "cpu", ":name:", ":description:"}


def platform(path: pathlib.Path) -> dict[str, dict]:
    """Peripherals by name, of a platform description in the part of its language that we use."""
    found, current = {}, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("//"):
            continue
        entry, attribute, interrupt = (p.fullmatch(line) for p in (ENTRY, ATTRIBUTE, INTERRUPT))
        assert entry or (current and (attribute or interrupt)), f"{path.name}:{number}: {line}"
        if entry:
            assert entry["name"] not in found
            current = found[entry["name"]] = {"type": entry["type"], "address": entry["address"]}
        elif attribute:
            assert attribute["name"] in TYPES[current["type"]], line
            current[attribute["name"]] = attribute["value"]
        else:
            current["interrupts"] = interrupt["target"]
    return found


@pytest.mark.parametrize(("cpu", "core"), [("cortex-m0plus", "cortex-m0+"), ("cortex-m4", "cortex-m4")])
def test_renode_boards(cpu, core):
    found = platform(renode_engine.FOLDER / f"{cores.find(cpu).renode}.repl")
    board = boards.board_of(cpu)
    assert found["cpu"]["cpuType"] == f'"{core}"'
    assert found[found["cpu"]["nvic"]]["interrupts"] == "cpu"
    assert int(found["nvic"]["address"], 16) == 0xE000E000
    for name, address in (("flash", board.flash), ("ram", board.ram), ("uart", board.uart)):
        assert int(found[name]["address"], 16) == address
    assert {int(found[name]["size"], 16) for name in ("flash", "ram")} == {boards.MEMORY_BYTES}


def test_renode_scripts(model, tmp_path):
    symbols = build(model, "cortex-m4", tmp_path).symbols
    scripts = sorted(renode_engine.FOLDER.glob("*.resc"))
    assert [s.stem for s in scripts] == ["cortex_m0plus", "cortex_m4", "firmware"]
    hooks = []
    for script in scripts:
        for line in filter(None, script.read_text().splitlines()):
            assert line.split()[0] in COMMANDS, line
            for name in re.findall(r"\$ORIGIN/(\S+)", line):
                assert (script.parent / name).is_file(), line
            for symbol in re.findall(r'GetSymbolAddress "(\w+)"', line):
                assert symbol in symbols
            hooks += re.findall(r'^cpu AddHook `[^`]+` "([^"]+)"$', line)
    assert len(hooks) == 3
    for hook in hooks:
        compile(hook, "hook", "exec")


def test_robot_dry_run(tmp_path):
    pytest.importorskip("robot", reason="robotframework is not installed")
    keywords = pathlib.Path(__file__).with_name("renode_keywords.resource")
    done = subprocess.run(
        [
            sys.executable, "-m", "robot", "--dryrun", "--output", "NONE", "--log", "NONE", "--report", "NONE",
            "--variable", f"RENODEKEYWORDS:{keywords}", str(renode_engine.FOLDER / "firmware.robot"),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 tests, 2 passed, 0 failed" in done.stdout
    assert "WARN" not in done.stdout + done.stderr


STAND_IN = """#!{python}
import pathlib, re, sys
sys.path.insert(0, {repository!r})
import numpy as np
from benchmarks import cycles
from benchmarks.emulators import firmware, unicorn_engine
assert sys.argv[1:5] == ["--disable-gui", "--console", "--plain", "-e"], sys.argv
path = lambda text: pathlib.Path(re.fullmatch(r"@((?:[^ ]|\\\\ )+)", text)[1].replace("\\\\ ", " "))
script = path(re.fullmatch("include (.+)", sys.argv[5])[1]).read_text().splitlines()
elf = path(re.fullmatch(r"\\$elf=(.+)", script[0])[1])
assert path(re.fullmatch("include (.+)", script[1])[1]).is_file()
given, address = re.fullmatch(r"sysbus LoadBinary (.+) (0x[0-9a-f]+)", script[2]).groups()
console = path(re.fullmatch("uart CreateFileBackend (.+) true", script[3])[1])
assert script[4:] == ["start"]
built = firmware.load(elf, "cortex-m4")
assert int(address, 16) == built.symbols["firmware_input"]
row = np.frombuffer(path(given).read_bytes(), np.int8)
ran = unicorn_engine.execute(built, ["firmware_infer"], row[None], {size})
count = sum(b.entries * cycles.count(b.code, b.address) for b in ran.blocks)
console.write_text(f"ticks {{0:016x}}\\noutput {{ran.outputs.tobytes().hex()}}\\nend\\n")
print("12:00:00 [INFO] cpu: inference begins at 100")
print(f"12:00:00 [INFO] cpu: inference ends at {{100 + count}}")
print("12:00:00 [INFO] cpu: firmware idles", flush=True)
assert sys.stdin.readline() == "quit\\n"
"""


def test_the_driver_of_renode(model, inputs, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "renode"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, repository=str(REPOSITORY), size=SIZE))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    built = build(model, "cortex-m4", tmp_path / "with space")
    outputs, instructions = counted(built, inputs)
    ran = renode_engine.execute(built, [], inputs, SIZE)
    np.testing.assert_array_equal(ran.outputs, outputs)
    assert ran.instructions == instructions
    with pytest.raises(execution.EngineError, match="no Renode board with a cortex-m7"):
        renode_engine.execute(build(model, "cortex-m7", tmp_path / "m7"), [], inputs, SIZE)
