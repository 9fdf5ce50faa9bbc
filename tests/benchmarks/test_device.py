"""The harness: firmware in the emulator equals the simulator, and its counts can be trusted."""

import json

import numpy as np
import pytest

from tests.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import UsageError, c_source, narrow

for module in ("unicorn", "capstone", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import cycles, device  # noqa: E402
from benchmarks.emulators import firmware, unicorn_engine  # noqa: E402


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network(batch=1)


@pytest.fixture(scope="module")
def inputs(model) -> np.ndarray:
    return device.inputs_for(model, 2, None, 1.0)[0]


@pytest.mark.parametrize(
    ("cpu", "rescale"),
    [("cortex-m0plus", "stock"), ("cortex-m0plus", 1), ("cortex-m3", 4), ("cortex-m4", "stock"), ("cortex-m4", 1)],
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
    assert "no table" in device.table([run])


def test_counts_in_c_and_in_python_agree_and_repeat(model, inputs, tmp_path):
    program = c_source.lower(narrow(model, 1)[0], "model", 1)
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
    arguments = f"device --model {path} --cpu cortex-m4 --bits 1 --output {tmp_path / 'out'}".split()
    device._FLAGS.unparse_flags()
    assert device.main(arguments) == 0
    text = capsys.readouterr().out
    assert "modelled cycles" in text
    assert "DIFFER" not in text
    runs = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [run["rescale"] for run in runs] == ["stock", 1]
    assert (tmp_path / "out" / "net_cortex-m4.png").stat().st_size > 1000
    rows = (tmp_path / "out" / "net_cortex-m4_k1" / "layers.csv").read_text().splitlines()
    assert rows[0] == '"Event","Tag","Ticks"'
    assert rows[1].startswith("0,CONV_2D,")


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
    program = c_source.lower(narrow(model, 1)[0], "model", 1)
    with pytest.raises(firmware.BuildError, match="zig failed for cortex-m4"):
        firmware.build(program, "cortex-m4", tmp_path, optimize="--no-such-flag")
