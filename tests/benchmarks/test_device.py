# SPDX-License-Identifier: Apache-2.0
"""The harness: firmware in the emulator equals the simulator, and its counts can be trusted."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from tests.helpers.c_internals import translate
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import ModelError, UsageError, narrow

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import command, cycles, device  # noqa: E402
from benchmarks.emulators import firmware, unicorn_engine  # noqa: E402


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network(batch=1)


@pytest.fixture(scope="module")
def inputs(model) -> np.ndarray:
    return device.inputs_for(model, 2, None, 1.0)[0]


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("cpu", "rescale"),
    [
        ("cortex-m0plus", "stock"),
        ("cortex-m0plus", 1),
        ("cortex-m3", 4),
        ("cortex-m4", "stock"),
        ("cortex-m4", 1),
        ("rv32imc", "stock"),
        ("rv32imc", 1),
    ],
)
def test_outputs_equal_the_simulator(model, inputs, cpu, rescale):
    run = device.measure(model, "model", cpu, rescale, inputs)
    assert run.equal
    assert run.total("least") <= run.total("cycles") <= run.total("most")
    assert run.total("instructions") < run.total("cycles")
    assert 0 < run.stack < 2048
    assert run.flash > 1000
    assert run.arena >= run.arena_bound > 0
    assert [layer.op for layer in run.layers].count("CONV_2D") == 4


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_the_kernels_of_a_core_equal_the_simulator(cpu):
    """Assembly included: depths of 4 and 8 steps, pixels left over, borders, strides."""
    b = TFLiteBuilder(5)
    x = b.input([1, 9, 7, 4])
    y = b.conv(x, 8, 3, stride=2, name="c1")
    y = b.conv(b.depthwise(y, kernel=3, name="d1"), 12, 1, name="c2")
    y = b.conv(b.depthwise(y, kernel=2, name="d2", stride=2), 10, 2, padding="VALID", name="c3")
    y = b.fully_connected(b.flatten(b.conv(y, 8, 1, name="c4")), 12, name="f1")
    model = b.build(x, b.fully_connected(y, 8, name="f2", per_channel=True))
    inputs, _ = device.inputs_for(model, 3, None, 1.0)
    inputs[1] = 127
    for rescale in (31, 8, 1):
        assert device.measure(model, "model", cpu, rescale, inputs).equal


def test_cores_without_a_published_table_have_instructions_only(model, inputs):
    run = device.measure(model, "model", "cortex-m7", 1, inputs)
    assert run.equal
    assert run.total("cycles") is None
    assert run.total("instructions") > 0
    head, row, reason = printed(run).splitlines()
    assert "cortex-m7: there is no table" in reason
    assert "cycles" not in head  # a column that nobody fills is left out
    for column, figure in (("instructions", run.total("instructions")), ("flash bytes", run.flash)):
        end = head.index(column) + len(column)  # numbers are aligned to the right, under their unit
        assert row[:end].split()[-1] == f"{figure:,.0f}"
    assert run.to_dict()["no_cycles_because"].startswith("cortex-m7: there is no table")


def test_a_model_without_layers():
    """It copies its input."""
    b = TFLiteBuilder(1)
    x = b.input([1, 5])
    data = b.build(x, x)
    run = device.measure(data, "model", "cortex-m4", "stock", device.inputs_for(data, 2, None, 1.0)[0])
    assert run.equal
    assert [layer.op for layer in run.layers] == ["INFERENCE"]
    assert run.total("cycles") > 0


@pytest.mark.slow
def test_counts_in_c_and_in_python_agree_and_repeat(model, inputs, tmp_path):
    program = translate(narrow(model, 1)[0], "model", 1)
    built = firmware.build(program, "cortex-m0plus", tmp_path)
    layers = [program.layer(step) for step in program.steps]
    machines = [unicorn_engine.Machine(built, layers, native) for native in (True, False)]
    counted = []
    for machine in machines:
        for row in inputs[[0, 1, 0]]:
            machine.forget()
            machine.infer(row, 5)
            counted.append(machine.blocks())
    native, python = counted[:3], counted[3:]
    assert not machines[1].is_native
    assert native == python
    assert native[0] == native[2]
    entry = built.symbols[layers[0]]
    assert [b.entries for b in native[0] if b.address == entry] == [1]


def test_a_loop_is_counted_exactly(tmp_path):
    """A function whose instructions are known: 1000 turns of three instructions."""
    # movs r0, #250; lsls r0, r0, #2; loop: nop; subs r0, #1; bne loop; bx lr
    code = bytes.fromhex("fa20 8000 00bf 0138 fcd1 7047".replace(" ", ""))
    segments = ((0x100, code),)
    symbols = {"firmware_reset": 0x100, "firmware_infer": 0x100, "firmware_idle": 0x200, "firmware_stack": 0x20001000}
    symbols |= {
        "firmware_stack": 0x20100000,
        "firmware_input": 0x20000000,
        "firmware_output": 0x20000100,
        "layer": 0x100,
    }
    machine = unicorn_engine.Machine(
        firmware.Firmware(tmp_path, "cortex-m0plus", 0, 0, symbols, segments, 0x204), ["layer"]
    )
    machine.forget()
    machine.infer(np.zeros(4, np.int8), 1)
    instructions = modelled = 0
    for block in machine.blocks():
        cost = cycles.block_cost(block.code, block.address, "cortex-m0plus")
        instructions += block.entries * cost.instructions
        modelled += block.entries * cost.cycles + (block.entries - block.continued) * cost.taken
    assert instructions == 2 + 3 * 1000 + 1
    assert modelled == 2 + 3 * 1000 + 999 + 2


def test_the_command_line(model, tmp_path, capsys):
    path = tmp_path / "net.tflite"
    path.write_bytes(model)
    assert main(f"--model {path} --cpu cortex-m4 --bits 1 --output {tmp_path / 'out'}") == 0
    text = capsys.readouterr().out
    assert "modelled cycles" in text
    assert "DIFFER" not in text
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["command"].startswith("python -m benchmarks.device --model")
    assert [run["rescale"] for run in stored["runs"]] == ["stock", 1]
    assert (tmp_path / "out" / "net_cortex-m4_zig.png").stat().st_size > 1000
    rows = (tmp_path / "out" / "net_cortex-m4_zig_k1" / "layers.csv").read_text().splitlines()
    assert rows[0].startswith('"Event","Tag","Ticks","Multiplications","Limit","Waited",')
    assert rows[1].startswith("0,CONV_2D,")


@pytest.mark.slow
def test_the_command_line_with_a_part(model, tmp_path, capsys):
    path = tmp_path / "net.tflite"
    path.write_bytes(model)
    out = tmp_path / "out"
    assert main(f"--model {path} --part stm32l4plus --bits 1 --output {out}") == 0
    text = capsys.readouterr().out
    assert "STM32L4R5 (NUCLEO-L4R5ZI), single bank: 5 wait states a line of 16 bytes, 1024 bytes of cache" in text
    assert "waited for flash" in text
    assert "a cycle, of 2" in text  # the table of layers
    run = json.loads((out / "report.json").read_text())["runs"][1]
    assert (run["cpu"], run["part"]["name"], run["part"]["flash"]["wait_states"]) == ("cortex-m4", "stm32l4plus", 5)
    assert run["cycle_model"]["wait_states"] == 5
    assert run["total_waited"] == sum(layer["waited"] for layer in run["layers"]) > 0
    with_part = run["total_cycles"]
    by_hand = "--cpu cortex-m4 --flash_wait_states 5 --flash_line_bytes 16 --cache_bytes 1024 --data_cache_bytes 256"
    assert main(f"--model {path} {by_hand} --bits 1 --output {out}") == 0
    run = json.loads((out / "report.json").read_text())["runs"][1]
    assert (run["total_cycles"], run["part"]["name"], run["milliseconds"]) == (with_part, "", None)
    assert main(f"--model {path} --part stm32l4plus --flash_wait_states 0 --bits 1 --output {out}") == 0
    assert json.loads((out / "report.json").read_text())["runs"][1]["total_waited"] == 0
    capsys.readouterr()
    for arguments, said in (
        ("--part stm32g0 --cpu cortex-m4", "--part stm32g0 has a cortex-m0plus; leave out --cpu cortex-m4"),
        ("--part stm32l4 --engine qemu", "--engine qemu does not tell what waits for flash"),
        ("--cpu cortex-m4 --cache_bytes 1024", "without --flash_wait_states"),
    ):
        assert main(f"--model {path} {arguments} --output {out}") == 2
        assert said in capsys.readouterr().err


def main(arguments: str) -> int:
    return device.main(["device", *arguments.split()])


def printed(*runs) -> str:
    console = command.console(device.WIDTH)
    with console.capture() as captured:
        console.print(device.table(runs))
    return captured.get()


needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")


@needs_gcc
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_both_compilers_side_by_side(model, inputs, cpu):
    runs = [device.measure(model, "model", cpu, 1, inputs, toolchain=name) for name in firmware.TOOLCHAINS]
    assert [run.equal for run in runs] == [True, True]
    assert [[layer.op for layer in run.layers] for run in runs] == 2 * [[layer.op for layer in runs[0].layers]]
    assert all(layer.cycles > 0 for run in runs for layer in run.layers)  # gcc's renamed functions are found
    assert runs[0].total("cycles") != runs[1].total("cycles")
    text = printed(*runs)
    assert "zig" in text
    assert "gcc" in text


@pytest.mark.slow
def test_a_slow_multiplier(model, inputs):
    fast, slow = (device.measure(model, "m", "cortex-m0plus", 1, inputs[:1], multiplier=m) for m in (1, 32))
    assert fast.total("instructions") == slow.total("instructions")
    extra = slow.total("cycles") - fast.total("cycles")
    assert extra > 0
    assert extra % 31 == 0
    assert slow.to_dict()["cycle_model"]["multiplier_cycles"] == 32


@pytest.mark.slow
def test_a_program_that_the_user_brings(model, tmp_path, capsys):
    path, elf = tmp_path / "net.tflite", tmp_path / "tflm.elf"
    path.write_bytes(model)
    program = translate(model, "other", 31, "tflm", "cortex-m4")
    shutil.copy(firmware.build(program, "cortex-m4", tmp_path / "other").path, elf)
    arguments = f"--model {path} --cpu cortex-m4 --cpu cortex-m0plus --bits 1 --output {tmp_path / 'out'}"
    assert main(f"{arguments} --compare {elf}") == 0
    runs = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert [run["cpu"] for run in runs] == 3 * ["cortex-m4"] + 2 * ["cortex-m0plus"]
    assert [run["rescale"] for run in runs] == ["stock", 1, "tflm", "stock", 1]
    stock, narrow_one, brought = runs[:3]
    assert brought["equal"]
    for what in ("total_instructions", "total_cycles", "total_least", "total_most", "total_multiplications", "stack"):
        assert brought[what] == stock[what]
    assert main(f"--model {path} --part stm32l4 --bits 1 --output {tmp_path / 'out'} --compare {elf}") == 0
    stock, _, brought = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    for what in ("total_waited", "total_unaligned", "total_cycles"):
        assert brought[what] == stock[what] > 0
    assert brought["total_cycles"] > narrow_one["total_cycles"]
    assert "= stock" in capsys.readouterr().out

    assert main(f"--model {path} --cpu cortex-m3 --compare {elf}") == 2
    assert "tflm.elf was built for cortex-m4 or cortex-m7; add that as --cpu" in capsys.readouterr().err
    other = tmp_path / "bigger.tflite"
    b = TFLiteBuilder(1)
    x = b.input([1, 4, 4, 2])
    other.write_bytes(b.build(x, b.conv(x, 4, 3, name="c")))
    assert main(f"--model {other} --cpu cortex-m4 --compare {elf}") == 2
    assert "holds none of these models: bigger: firmware_input has 192 bytes" in capsys.readouterr().err
    assert main(f"--model {path} --cpu cortex-m4 --compare {path}") == 1
    assert "net.tflite cannot be read as an ELF file" in capsys.readouterr().err


def test_an_elf_file_without_the_symbols(tmp_path):
    source, elf = tmp_path / "bare.c", tmp_path / "bare.o"
    source.write_text("int firmware_infer(void) { return 1; }\n")
    command = [*firmware._compiler("zig", "cortex-m4"), "-c", str(source), "-o", str(elf)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ModelError, match="no symbols firmware_reset, firmware_idle, firmware_input, firmware_output"):
        firmware.load(elf, "cortex-m4")
    assert firmware.cores(elf) == ("cortex-m4", "cortex-m7")


def test_data_by_name_and_by_file(model, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "rows.npz"
    np.savez(path, x_test=rng.normal(size=(3, 8, 8, 3)), y_test=np.arange(3))
    x, labels = device.inputs_for(model, 2, str(path), 1.0)
    assert (x.shape, x.dtype, labels.tolist()) == ((2, 8, 8, 3), np.int8, [0, 1])
    with pytest.raises(UsageError, match=r"rows of digits have shape \[8, 8, 1\], the model takes \[8, 8, 3\]"):
        device.inputs_for(model, 2, "digits", 1.0)
    with pytest.raises(UsageError, match=r"no data 'nothing'; give a file\.npz, or one of digits"):
        device.load_data("nothing", 1.0)


def test_compiler_errors_are_reported(model, tmp_path):
    program = translate(narrow(model, 1)[0], "model", 1)
    with pytest.raises(firmware.BuildError, match="zig failed for cortex-m4"):
        firmware.build(program, "cortex-m4", tmp_path, optimize="--no-such-flag")
