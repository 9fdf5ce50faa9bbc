# SPDX-License-Identifier: Apache-2.0
"""`--optimize`: the same model for speed and for flash, from one cost model."""

import numpy as np
import pytest

from tests.helpers import native
from tests.helpers.programs import Compiled, random_inputs
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import UsageError, c, narrow
from tflm_export.__main__ import main
from tflm_export.arithmetic import Narrow
from tflm_export.grid import Grid
from tflm_export.simulator import simulate

CORES = ("cortex-m4", "cortex-m0plus")
LAYERS = 7


@pytest.fixture(scope="module")
def model() -> bytes:
    """So many convolutions and depthwise layers that they share what walks over them."""
    b = TFLiteBuilder()
    x = y = b.input([1, 9, 10, 8])
    for i in range(LAYERS):
        y = b.conv(b.depthwise(y, name=f"d{i}"), 8 + 2 * i, 3, name=f"c{i}")
    return narrow(b.build(x, b.fully_connected(b.flatten(y), 3)), 1)[0]


def program(model: bytes, core: str, optimize: str) -> c.CProgram:
    return c.translate(model, "model", Narrow(Grid(1)), core, False, optimize)


@pytest.mark.sweep(5)
@native.requires_gcc
@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("core", CORES)
def test_both_compute_the_same(model, core, optimize):
    compiled = Compiled(program(model, core, optimize))
    (x,) = random_inputs(compiled.program, 1)
    expected = simulate(model, x[None].reshape(1, 9, 10, 8), Narrow(Grid(1))).outputs[0]
    np.testing.assert_array_equal(compiled.invoke(x).reshape(-1), expected.reshape(-1))


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_on_a_board_the_smaller_one_is_smaller_and_the_faster_one_faster(model, core, tmp_path):
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks import cycles
    from benchmarks.emulators import firmware, unicorn_engine

    x = np.random.default_rng(1).integers(-128, 128, (1, 9, 10, 8)).astype(np.int8)
    expected = simulate(model, x, Narrow(Grid(1))).outputs[0]
    flash, spent = {}, {}
    for optimize in ("speed", "size"):
        built = firmware.build(program(model, core, optimize), core, tmp_path / optimize)
        execution = unicorn_engine.execute(built, [], x.reshape(1, -1), expected.size)
        np.testing.assert_array_equal(execution.outputs.reshape(-1), expected.reshape(-1))
        flash[optimize] = built.flash
        spent[optimize] = sum(cycles.executed(block, core) for block in execution.blocks)
    assert flash["size"] < flash["speed"]
    assert spent["speed"] < spent["size"]


@pytest.mark.sweep(5)
@native.requires_gcc
@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("side", [2, 3, 6])
def test_what_writes_planes_is_no_dense_layer(side, core, optimize):
    b = TFLiteBuilder()
    x = y = b.input([1, side, side, 36])
    for i, channels in enumerate((36, 36, 60, 44, 52)):  # once one has them, dense loops are the smallest for others
        y = b.depthwise(b.conv(y, channels, 1, name=f"c{i}"), name=f"d{i}")
    model = narrow(b.build(x, b.conv(y, 36, 1, name="last")), 1)[0]
    compiled = Compiled(program(model, core, optimize))
    (x,) = random_inputs(compiled.program, 1)
    expected = simulate(model, x[None].reshape(1, side, side, 36), Narrow(Grid(1))).outputs[0]
    np.testing.assert_array_equal(compiled.invoke(x).reshape(-1), expected.reshape(-1))


@native.requires_gcc
def test_what_writes_planes_is_no_dense_layer_where_that_is_faster_either():
    b = TFLiteBuilder()
    x = b.input([1, 1, 3, 256])
    y = b.depthwise(b.conv(x, 16, 1, name="c"), name="d")
    model = narrow(b.build(x, b.conv(y, 8, 1, name="last")), 1)[0]
    compiled = Compiled(program(model, "cortex-m0plus", "speed"))
    (x,) = random_inputs(compiled.program, 1)
    expected = simulate(model, x[None].reshape(1, 1, 3, 256), Narrow(Grid(1))).outputs[0]
    np.testing.assert_array_equal(compiled.invoke(x).reshape(-1), expected.reshape(-1))


def test_few_layers_do_not_share():
    b = TFLiteBuilder()
    x = b.input([1, 9, 10, 8])
    small = narrow(b.build(x, b.conv(x, 8, 3)), 1)[0]
    assert not program(small, "cortex-m4", "size").is_small
    assert b"NARROW_SMALL" not in program(small, "cortex-m4", "size").files()["model.c"]


def test_the_command_line_asks_for_it(model, tmp_path, capsys):
    (tmp_path / "m.tflite").write_bytes(model)
    given = ["", "--bits", "1", "--output", str(tmp_path / "n.tflite"), "--core", "m4", str(tmp_path / "m.tflite")]
    assert main([*given, "--c_source", str(tmp_path / "c"), "--optimize", "size"]) == 0
    assert "#define NARROW_SMALL" in (tmp_path / "c" / "n.c").read_text()
    assert main([*given, "--overwrite", "--c_source", str(tmp_path / "c")]) == 0
    assert "#define NARROW_SMALL" not in (tmp_path / "c" / "n.c").read_text()
    capsys.readouterr()
    assert main(["", "--bits", "1", "--optimize", "size", str(tmp_path / "m.tflite")]) == 2
    assert "--optimize means nothing without --c_source" in capsys.readouterr().err


def test_there_is_nothing_else_to_optimise_for(model):
    with pytest.raises(UsageError, match="optimize must be speed or size, got 'power'"):
        program(model, "cortex-m4", "power")
