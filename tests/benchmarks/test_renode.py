# SPDX-License-Identifier: Apache-2.0
"""Renode: its files and what is made of its words anywhere; the same ELF file as in Unicorn where it is installed.

Renode is not on PyPI. Without it this checks our files against a part of its languages, and what the driver makes of
lines in the wording of Renode's sources; none of that shows that Renode runs them.
"""

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
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import residual_network
from tflm_export import cores, narrow
from tflm_export.simulator import simulate

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import cycles, device  # noqa: E402
from benchmarks.emulators import boards, execution, firmware, renode_engine, unicorn_engine  # noqa: E402
from benchmarks.emulators.isa import isa_of  # noqa: E402

CPUS = [core.name for core in cores.CORES if core.renode]
SIZE = 5  # of the network's output
needs_renode = pytest.mark.skipif(shutil.which(renode_engine.PROGRAM) is None, reason="renode is not on PATH")
needs_renode_test = pytest.mark.skipif(shutil.which("renode-test") is None, reason="renode-test is not on PATH")


@pytest.fixture(scope="module")
def model() -> bytes:
    return narrow(residual_network(batch=1), 1)[0]


@pytest.fixture(scope="module")
def inputs(model) -> np.ndarray:
    return device.inputs_for(model, 2, None, 1.0)[0]


def build(model, cpu: str, folder: pathlib.Path) -> firmware.Firmware:
    return firmware.build(translate(model, "model", 1, core=cpu), cpu, folder)


def counted(built: firmware.Firmware, inputs: np.ndarray) -> float:
    """Instructions of an inference in Unicorn, whose blocks are counted."""
    ran = unicorn_engine.execute(built, ["firmware_infer"], inputs, SIZE)
    return sum(b.entries * cycles.count(b.code, b.address, built.cpu) for b in ran.blocks) / len(inputs)


# In Renode.


@needs_renode
@pytest.mark.parametrize("cpu", CPUS)
def test_renode_counts_as_unicorn_does(model, inputs, cpu, tmp_path):
    built = build(model, cpu, tmp_path / "with space")
    ran = renode_engine.execute(built, [], inputs, SIZE)
    np.testing.assert_array_equal(ran.outputs, simulate(model, inputs, "narrow", 1).outputs[0].reshape(len(inputs), -1))
    assert (ran.instructions, ran.resolution) == (counted(built, inputs), 0)


FAULTING = """#include <stdint.h>
#define FAULT_INPUT_BYTES 4
#define FAULT_OUTPUT_BYTES 1
void fault_invoke(const int8_t *input, int8_t *output);
"""


@needs_renode
@pytest.mark.parametrize("statement", ["__builtin_trap()", "*y = *(volatile int8_t *)0x70000000"])
@pytest.mark.parametrize("cpu", CPUS)
def test_renode_says_why_a_program_faults(cpu, statement, tmp_path):
    """An undefined instruction, and a place where nothing is, which Renode only warns of."""
    source = f'#include "fault.h"\nvoid fault_invoke(const int8_t *x, int8_t *y) {{ *y = *x; {statement}; }}\n'
    files = {"fault.h": FAULTING.encode(), "fault.c": source.encode()}
    built = firmware.link("fault", files, "fault_invoke", (4, 1), cpu, tmp_path, "zig")
    with pytest.raises(execution.EngineError, match="faulted in Renode"):
        renode_engine.execute(built, [], np.zeros((1, 4), np.int8), 1)


@needs_renode_test
@pytest.mark.parametrize("cpu", CPUS)
def test_the_robot_file_in_renode(model, inputs, cpu, tmp_path):
    built = build(model, cpu, tmp_path / "with space")
    row = built.path.with_name("input row.bin")
    row.write_bytes(inputs[0].tobytes())
    output = simulate(model, inputs[:1], "narrow", 1).outputs[0].astype(np.int8).tobytes().hex()
    variables = {
        "BOARD": cores.find(cpu).renode, "ELF": built.path, "INPUT": row, "OUTPUT": output,
        "INSTRUCTIONS": int(counted(built, inputs[:1])),
    }  # fmt: skip
    given = [word for name, value in variables.items() for word in ("--variable", f"{name}:{value}")]
    command = [
        "renode-test", str(renode_engine.FOLDER / "firmware.robot"), "-r", str(tmp_path / "results"), *given
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


# Anywhere.


@pytest.mark.sweep(3)
@pytest.mark.parametrize("cpu", sampled(CPUS, 3))
def test_the_inference_ends_where_it_returns_to(model, inputs, cpu, tmp_path):
    """In a run from reset, as Renode's are: as many instructions as an inference alone has, more to the report, 13 of
    Arm cores, which read SysTick there.

    Blocks are counted, for in IT blocks Unicorn calls hooks of single instructions only where these take effect.
    """
    built = build(model, cpu, tmp_path)
    symbols, found, isa = built.symbols, [], isa_of(cpu)
    for report in (False, True):
        machine = unicorn_engine.Machine(built, [])
        engine = machine._engine
        engine.mem_write(symbols["firmware_input"], inputs[0].tobytes())
        machine._start("firmware_reset", "firmware_infer")
        until = symbols["firmware_report"] if report else engine.reg_read(machine._lr) & ~1
        machine.forget()
        engine.emu_start(symbols["firmware_infer"] | isa.code_bit, until)
        assert engine.reg_read(machine._pc) == until
        found.append(sum(b.entries * cycles.count(b.code, b.address, cpu) for b in machine.blocks()))
    assert found[0] == counted(built, inputs[:1])
    assert found[1] - found[0] >= 13 if isa.code_bit else found[1] > found[0]


# Types of Renode, and which of their parameters and properties we set.
TYPES = {
    "CPU.CortexM": {"cpuType", "nvic", "PerformanceInMips"},
    "IRQControllers.NVIC": {"systickFrequency"},
    "Memory.MappedMemory": {"size"},
    "UART.CMSDK_APB_UART": {"frequency"},
    "CPU.RiscV32": {"cpuType", "PerformanceInMips", "timeProvider"},
    "UART.NS16550": set(),
}
USING = re.compile(r'using "\./(?P<name>\w+\.repl)"')
ENTRY = re.compile(r"(?P<name>[a-z]\w*):(?: (?P<type>\w+\.\w+) @ sysbus(?: (?P<address>0x[0-9A-F]+))?)?")
ATTRIBUTE = re.compile(r"    (?P<name>\w+): (?P<value>\"[\w+-]+\"|0x[0-9a-f]+|\d+|[a-z]\w*)")
INTERRUPT = re.compile(r"    -> (?P<target>\w+)@\d+")
COMMANDS = {"mach", "machine", "using", "sysbus", "cpu", ":name:", ":description:"}


def platform(path: pathlib.Path) -> dict[str, dict]:
    """Peripherals by name, of a platform description in the part of its language that we use."""
    found, current = {}, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("//"):
            continue
        using, entry, attribute, interrupt = (p.fullmatch(line) for p in (USING, ENTRY, ATTRIBUTE, INTERRUPT))
        assert using or entry or (current is not None and (attribute or interrupt)), f"{path.name}:{number}: {line}"
        if using:
            assert not found
            found = platform(path.with_name(using["name"]))
        elif entry:
            assert (entry["type"] is None) == (entry["name"] in found)  # one of that name is added to
            current = found.setdefault(entry["name"], {"type": entry["type"], "address": entry["address"]})
        elif attribute:
            assert attribute["name"] in TYPES[current["type"]], line
            current[attribute["name"]] = attribute["value"]
        else:
            current["interrupts"] = interrupt["target"]
    return found


@pytest.mark.parametrize("cpu", CPUS)
def test_boards(cpu):
    found = platform(renode_engine.FOLDER / f"{cores.find(cpu).renode}.repl")
    board = boards.board_of(cpu)
    hertz = 10**9 // board.instructions  # of QEMU's, where an instruction takes a nanosecond
    assert int(found["cpu"]["PerformanceInMips"]) * 10**6 == hertz  # so that a tick is an instruction
    core, kind = cores.find(cpu), found["cpu"]["cpuType"].strip('"')
    if core.isa == "riscv":
        base, csr, *named = kind.split("_")
        assert csr == "zicsr"  # for its counters and its trap
        assert core.extensions - {"e"} <= {*base.removeprefix("rv32"), *named}
        assert not core.extensions.isdisjoint({"m"}) or "m" not in base  # which would hide a product
        assert found["cpu"]["timeProvider"] == "empty"
    else:
        assert kind in (cpu, *core.aliases)
        assert kind != "cortex-m0plus"  # Renode has it as cortex-m0+ only
        assert found[found["cpu"]["nvic"]]["interrupts"] == "cpu"
        assert int(found["nvic"]["address"], 16) == 0xE000E000
        assert {int(found["nvic"]["systickFrequency"]), int(found["uart"]["frequency"])} == {hertz}
    for name, address in (("flash", board.flash), ("ram", board.ram), ("uart", board.uart)):
        assert int(found[name]["address"], 16) == address
    assert [int(found[name]["size"], 16) for name in ("flash", "ram")] == [boards.FLASH_BYTES, board.ram_bytes]


def test_which_cores_have_boards():
    arm = {"cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"}
    assert set(CPUS) == arm | {core.name for core in cores.CORES if core.isa == "riscv"}
    used = {f"{cores.find(cpu).renode}.repl" for cpu in CPUS} | {"mps2.repl", "virt.repl"}
    assert {path.name for path in renode_engine.FOLDER.glob("*.repl")} == used


def test_hooks(model, tmp_path):
    symbols = build(model, "cortex-m4", tmp_path).symbols
    hooks = {}
    for line in filter(None, (renode_engine.FOLDER / "firmware.resc").read_text().splitlines()):
        assert line.split()[0] in COMMANDS, line
        hook = re.fullmatch(r'cpu AddHook `sysbus GetSymbolAddress "(\w+)"` "([^"]+)"', line)
        if hook:
            hooks[hook[1]] = compile(hook[2], hook[1], "exec")
        assert "`" not in line or ("@" not in line and "$" not in line)  # such a line is read twice, without escapes
    assert hooks.keys() <= symbols.keys()
    value = type("Register", (), {"RawValue": 0x1235})
    for registers in ({"LR": value}, {"X": [None, value]}):  # of a Cortex-M, of RISC-V
        said = run_hooks(hooks, registers)
        assert said == ["inference begins at 1000", "inference ends at 5347", "firmware idles"]


def run_hooks(hooks: dict, registers: dict) -> list[str]:
    """What hooks say of an inference of 4347 instructions, to which they are Python with a core at hand."""

    class Core:
        ExecutedInstructions, IsHalted = 1000, False

    said, added, core = [], {}, Core()
    vars(core).update(registers)
    core.Log = lambda level, text: said.append(text)
    core.AddHook = added.__setitem__
    scope = {"self": core, "LogLevel": type("LogLevel", (), {"Info": 1})}
    exec(hooks["firmware_infer"], scope)
    core.ExecutedInstructions += 4347
    added.pop(0x1234)(core, 0x1234)
    exec(hooks["firmware_idle"], scope)
    assert core.IsHalted
    assert not added
    return said


def test_paths_with_spaces_are_escaped(model, inputs, tmp_path):
    built = build(model, "cortex-m33", tmp_path / "with space")
    folder = tmp_path / "run of one"
    folder.mkdir()
    lines = renode_engine.script(built, inputs[0], folder).read_text().splitlines()
    paths = [re.search(r"@((?:\\ |\S)+)", line) for line in lines]  # as Renode's monitor takes a path
    board, elf, commands, row, console = (pathlib.Path(p[1].replace("\\ ", " ")) for p in paths[:5])
    assert (board.name, commands.name) == ("cortex_m33.repl", "firmware.resc")
    assert board.is_file()
    assert commands.is_file()
    assert elf == built.path
    assert row.read_bytes() == inputs[0].tobytes()
    assert console == folder / "console.txt"
    assert lines[3].endswith(f" {built.symbols['firmware_input']:#x}")
    assert lines[-1] == "start"
    assert not any("`" in line for line in lines)


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


# What Renode says, in the wording of its sources (1.15.3): the monitor, a core that stops, a bus that finds nothing.
LOG = "12:00:00.0000 [{}] {}\n".format
RUN = [LOG("INFO", "cpu: inference begins at 1000"), LOG("INFO", "cpu: inference ends at 5347")]
IDLE = LOG("INFO", "cpu: firmware idles")
CONSOLE = ["ticks 00000000000010fd", "output 0180", "output ff", "end"]
FAULTS = {
    "monitor": ["There was an error executing command 'machine LoadPlatformDescription $board'\n",
                "\n", "\tCould not find file '/nowhere/board.repl'\n"],
    "command": ["No such command or device: uart\n"],
    "variable": ["No such variable: $board\n"],
    "abort": [LOG("ERROR", "cpu: CPU abort [PC=0x4]: Trying to execute code outside RAM or ROM at 0x00000004.")],
    "halted": [LOG("ERROR", "cpu: PC does not lay in memory or PC and SP are equal to zero. CPU was halted.")],
    "read": [LOG("WARNING", "sysbus: [cpu: 0x12C] ReadByte from non existing peripheral at 0x70000000.")],
    "write": [LOG("WARNING", "sysbus: [cpu: 0x12C] WriteByte to non existing peripheral at 0x70000000, value 0x1.")],
    "hook": [LOG("ERROR", "cpu: Python runtime error: name 'x' is not defined")],
}  # fmt: skip


def last_line(lines: list[str]) -> int:
    """At which line a run is over."""
    is_last = renode_engine.ending()
    return next(i for i, line in enumerate(lines) if is_last(line.strip()))


def test_an_inference_that_went_well():
    lines = [LOG("INFO", "cpu: Setting initial values"), *RUN, IDLE, "(board) \n"]
    assert last_line(lines) == 3
    output, instructions = renode_engine.result(lines[:4], CONSOLE, 3)
    assert output.tolist() == [1, -128, -1]
    assert instructions == 4347
    with pytest.raises(execution.EngineError, match="did not log both ends of the inference"):
        renode_engine.result([RUN[0], IDLE], CONSOLE, 3)
    with pytest.raises(execution.EngineError, match=r"faulted in Renode$"):
        renode_engine.result([*RUN, IDLE], ["fault"], 3)


@pytest.mark.parametrize("name", FAULTS)
def test_what_renode_goes_on_after_is_a_fault_with_its_reason(name):
    """It ends the wait, at the line with the reason, and whatever the program computed from a 0 that it read."""
    fault = FAULTS[name]
    lines = [RUN[0], *fault, RUN[1], IDLE]
    assert last_line(lines) == len(fault)
    with pytest.raises(execution.EngineError, match="faulted in Renode: ") as error:
        renode_engine.result(lines[: len(fault) + 1], CONSOLE, 3)
    assert fault[-1].strip() in str(error.value)
    assert fault[0].strip() in str(error.value)


def test_the_driver_does_not_wait_after_a_fault(model, inputs, tmp_path, monkeypatch):
    """With a program in Renode's place that says a line of the above and then waits for commands, as Renode does."""
    program = tmp_path / "bin" / "renode"
    program.parent.mkdir()
    said = "".join(FAULTS["monitor"])
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\nread command\ntest \"$command\" = quit\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(renode_engine, "_SECONDS", 30)
    built = build(model, "cortex-m4", tmp_path)
    with pytest.raises(execution.EngineError, match=r"faulted in Renode: .*LoadPlatformDescription.*Could not find"):
        renode_engine.execute(built, [], inputs, SIZE)
    with pytest.raises(execution.EngineError, match="no Renode board with a cortex-m23, but with cortex-m0, "):
        renode_engine.execute(build(model, "cortex-m23", tmp_path / "m23"), [], inputs, SIZE)
