# SPDX-License-Identifier: Apache-2.0
"""Whole networks: every rescale, sum and mean of an inference through the blocks, with the tables of --rtl.

In Icarus and Verilator, where they are, through the testbench of the folder; through CXXRTL, which needs neither, with
the same numbers. `make hardware-test` takes all models and widths.
"""

import dataclasses
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.hardware import cxxrtl, yosys
from tests.helpers import corpus
from tests.helpers.hardware import ALL
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import residual_network
from tflm_export import narrow, rtl
from tflm_export.grid import grid_of
from tflm_export.rtl.design import ANY, Design, design, program_of
from tflm_export.rtl.lane import lane as lane_of
from tflm_export.rtl.means import Averaged, mean_fields
from tflm_export.rtl.rescaled import Rescaled
from tflm_export.rtl.sums import Sum, sum_fields
from tflm_export.rtl.table import Table
from tflm_export.rtl.tables import LAYERS, Placed, layers_table, placed
from tflm_export.rtl.vectors import OtherVectors, RescaleVectors, random_inputs, vectors

SIMULATORS = {"icarus": "iverilog", "verilator": "verilator"}
MODELS = """
    models/tiny__kws_ref_model models/tiny__ad01_int8 models/tiny__pretrainedResnet_quant models/tiny__vww_96_int8
    models/mltk__keyword_spotting_on_off_v3 models/micro-wake-word-models__alexa models/tflite-micro__conv1
    baselines/fsdd_int8
""".split()
LANE_CLOCKS = 5
FOLDED = rtl.Wanted(shifts=(-1, 25), is_folded=True)
GRIDS = (1, 2, 4, 8, 16, "csd2")
ACCUMULATORS = {"models/micro-wake-word-models__alexa": 26}
CASES = [(MODELS[0], 8), (MODELS[0], "folded"), (MODELS[2], 1)]
if ALL:  # wide accumulators take 15 bits at most
    CASES = [(m, g) for m in MODELS for g in (*GRIDS, "folded") if (m, g) != ("models/tflite-micro__conv1", 16)]


def write(folder: pathlib.Path, data: bytes, grid, wanted: rtl.Wanted = ANY) -> pathlib.Path:
    for name, content in rtl.emit(data, "net", grid, wanted).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def make(folder: pathlib.Path, target: str) -> subprocess.CompletedProcess:
    """Runs the testbench; skips where the simulator is not."""
    tool = SIMULATORS[target]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    command = ["make", "-s", target, "VERILATOR_FLAGS=-MAKEFLAGS OPT_FAST=-O0 -MAKEFLAGS OPT_GLOBAL=-O0"]  # soon built
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize(
    ("grid", "target", "wanted"),
    [(1, "icarus", FOLDED), (8, "icarus", ANY), ("csd2", "icarus", ANY), (4, "verilator", ANY)]
    + [(grid, target, ANY) for grid in GRIDS for target in SIMULATORS if ALL],
)
def test_testbench_passes(tmp_path, grid, target, wanted):
    data, _ = narrow(residual_network(batch=1), grid)
    done = make(write(tmp_path, data, grid, wanted), target)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^PASS: (\d+) vectors: (\d+) rescales, (\d+) sums, (\d+) means$", done.stdout, re.MULTILINE)
    count, *parts = map(int, found.groups())
    assert count == sum(parts) == len((tmp_path / "vectors.hex").read_text().splitlines())
    assert min(parts) > 0


def test_testbench_names_what_differs(tmp_path):
    """A bias that is off by 2**16, in the third channel of the second layer."""
    data, _ = narrow(residual_network(batch=1), 8)
    table = next(write(tmp_path, data, 8).glob("tables/01_*.hex"))
    lines = table.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if not line.startswith("//")) + 2
    bias = int(re.search(r"\[\d+:(\d+)\] bias", table.read_text())[1])
    lines[at] = f"{int(lines[at], 16) ^ 1 << (bias + 16):x}\n"
    table.write_text("".join(lines))
    done = make(tmp_path, "icarus")
    assert done.returncode != 0
    where = r"^FAIL: line \d+: layer 1, operator 1 DEPTHWISE_CONV_2D \(left\), channel 2"
    assert re.search(where + r": accumulator -?\d+, expected -?\d+, got -?\d+$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(("kept", "message"), [(-5, "lines, and not"), (0, "has 0 lines")])
def test_testbench_wants_all_vectors(tmp_path, kept, message):
    data, _ = narrow(residual_network(batch=1), 8)
    path = write(tmp_path, data, 8) / "vectors.hex"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:kept]))
    done = make(tmp_path, "icarus")
    assert done.returncode != 0
    assert done.stdout.startswith("FAIL: vectors.hex has ")
    assert message in done.stdout


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("model", "grid"), sampled(CASES, 2))
def test_networks_through_cxxrtl(model, grid):
    is_folded, grid = grid == "folded", grid_of(1 if grid == "folded" else grid)
    data, _ = narrow(corpus.read(model), grid)
    found, parts, _ = _vectors(data, grid, rtl.Wanted(ACCUMULATORS.get(model), is_folded=is_folded))
    blocks, count = _blocks(found), 0
    for own in parts:
        count += len(own)
        y = blocks[own.layer.block](**_ports(own, found))["y"]
        np.testing.assert_array_equal(y, own.expected, err_msg=own.layer.label)
    assert count > 0


def _vectors(
    data: bytes, grid, wanted: rtl.Wanted = ANY
) -> tuple[Design, Iterator[RescaleVectors | OtherVectors], tuple[Placed, ...]]:
    program, _ = program_of(data, grid_of(grid))
    found = design(program, grid_of(grid), wanted)
    return found, vectors(found, program, random_inputs(program)), placed(found)


def _blocks(found: Design) -> dict[str, cxxrtl.Block]:
    """The blocks that a design has, by name."""
    needed = {found.parameters.coding.block: found.parameters}
    needed |= {"narrow_add": found.sum_parameters} if found.sums else {}
    needed |= {"narrow_mean": found.mean_parameters} if found.means else {}
    return {name: cxxrtl.build(name, parameters.localparams) for name, parameters in needed.items()}


def _ports(own: RescaleVectors | OtherVectors, found: Design) -> dict[str, np.ndarray]:
    """What the block of some vectors gets: the operands, and the fields of its table's records."""
    if isinstance(own.layer, Sum):
        operands, fields = dict(zip("ab", own.operands, strict=True)), sum_fields([own.layer], found.sum_parameters)
    elif isinstance(own.layer, Averaged):
        operands, fields = {"sum": own.operands[0]}, mean_fields([own.layer], found.mean_parameters)
    else:
        fields = own.layer.fields(found.parameters)
        bias = next(field for field in fields if field.name == "bias").values[own.channel]
        most = 1 << (found.parameters.accumulator_bits - 1)
        operands = {"acc": (own.operands[0] + bias + most) % (2 * most) - most}
    channel = own.channel if isinstance(own, RescaleVectors) else 0
    ports = {field.name: field.values[channel] for field in fields if field.name != "bias"}
    hidden = {"narrow_rescale": ["multiplier"], "narrow_add": ["multiplier_a", "multiplier_b"]}  # where k is 1
    return dict.fromkeys(hidden.get(own.layer.block, []), 0) | ports | operands


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("grid", "is_whole", "wanted"), [(1, False, ANY), (1, False, FOLDED), (4, False, ANY), ("csd2", True, ANY)]
)
def test_lane(tmp_path, grid, is_whole, wanted):
    """Every rescale of a network, one with every clock: layers with a factor, and with one for each channel."""
    data, _ = narrow(residual_network(batch=1), grid)
    lane = write(tmp_path, data, grid, wanted) / "lane.v"
    found, parts, layers = _vectors(data, grid, wanted)
    if is_whole:  # as where some channel has a zero point and limits of its own
        layers = tuple(dataclasses.replace(each, table=_whole(each.table)) for each in layers)
        for path, content in [(each.table.path, each.table.text()) for each in layers] + [
            (LAYERS, layers_table(layers).text()), ("lane.v", lane_of(found, layers).encode())
        ]:  # fmt: skip
            (tmp_path / path).write_bytes(content)
    files = " ".join(yosys.quoted(path) for path in (lane, *sorted((tmp_path / "blocks").iterdir())))
    reading = [f"read_verilog -I{tmp_path} {files}", "hierarchy -check -top lane"]
    log = yosys.run([*reading, "proc", "flatten", "opt_clean", "check -assert"], tmp_path)
    assert re.findall(r"^Warning: .*", log, re.MULTILINE) == []
    place = {id(placed.layer): placed.number for placed in layers}
    parts = [part for part in parts if isinstance(part, RescaleVectors)]
    flow = {
        "layer": np.concatenate([np.full(len(part), place[id(part.layer)]) for part in parts]),
        "channel": np.concatenate([part.channel for part in parts]),
        "sum": np.concatenate([part.operands[0] for part in parts]),
    }
    expected = np.concatenate([part.expected for part in parts])
    order = np.random.default_rng(0).permutation(len(expected))  # another layer with every clock
    late = LANE_CLOCKS - 1
    ports = {name: np.pad(values[order], (0, late)) for name, values in flow.items()}
    y = cxxrtl.build("lane", script=reading)(**ports)["y"][late:]
    np.testing.assert_array_equal(y, expected[order])
    assert len({placed.layer.is_shared for placed in layers if isinstance(placed.layer, Rescaled)}) == 2


def _whole(table: Table) -> Table:
    """With all numbers in the records."""
    return dataclasses.replace(table, fields=(*table.fields, *table.constants), constants=())


@pytest.mark.parametrize(("grid", "tool"), [(g, tool) for g in (1, 4, "csd2") for tool in SIMULATORS.values()])
def test_lane_has_no_warning(tmp_path, grid, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    data, _ = narrow(residual_network(batch=1), grid)
    files = ["lane.v", *(f"blocks/{path.name}" for path in rtl.sources())]
    write(tmp_path, data, grid)
    flags = ["--lint-only", "-Wall", "--top-module", "lane"]
    if tool == "iverilog":
        flags = ["-g2005", "-Wall", "-s", "lane", "-o", "design"]
    done = subprocess.run([tool, *flags, *files], cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert [line for line in said.splitlines() if "arning" in line and "timescale" not in line] == []


def test_testbench_holds_the_lane_to_the_vectors(tmp_path):
    """A lane that adds no bias to what the blocks get right."""
    data, _ = narrow(residual_network(batch=1), 4)
    lane = write(tmp_path, data, 4) / "lane.v"
    text = lane.read_text()
    assert text.count("sum_with_record + bias") == 1
    lane.write_text(text.replace("sum_with_record + bias", "sum_with_record"))
    done = make(tmp_path, "icarus")
    assert done.returncode != 0
    assert re.search(r"^FAIL: line \d+: lane.v: expected -?\d+, got -?\d+$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("what is this", "line 1000 of vectors.hex cannot be read"),
        ("0001 000000 00", "line 1000 of vectors.hex cannot be read"),
        ("00ff 000000 0 0 0", "line 1000: there is no layer 255"),
        (
            "0001 000046 0 0 0",
            "line 1000: layer 1, operator 1 DEPTHWISE_CONV_2D (left), has no channel 70; there are 6",
        ),
    ],
)
def test_testbench_says_which_line_is_no_vector(tmp_path, line, message):
    data, _ = narrow(residual_network(batch=1), 8)
    path = write(tmp_path, data, 8) / "vectors.hex"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:999], line]) + "\n" + ("\n".join(lines[1000:]) if line[0] == "w" else ""))
    done = make(tmp_path, "icarus")
    assert done.returncode != 0
    assert [text for text in done.stdout.splitlines() if text.startswith("FAIL")] == [f"FAIL: {message}"]
