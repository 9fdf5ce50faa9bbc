# SPDX-License-Identifier: Apache-2.0
"""What benchmarks.hardware measures, on designs of known cells and with a tiny library; its files, and its errors."""

import contextlib
import csv
import dataclasses
import importlib
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import natural_inputs, page
from benchmarks.hardware import accuracy, designs, energy, goals, liberty, measure, report, synthesis, workload, yosys
from benchmarks.hardware.designs import CSA, CSD, FOLDED, NARROW, NO_MULTIPLIER, STOCK, WIDE, design
from benchmarks.hardware.gates import Netlist
from benchmarks.hardware.synthesis import AREA, CELLS, FPGAS, SPEED, TRANSISTORS, Job, Store
from benchmarks.hardware.workload import BY_CHANNEL, BY_PIXEL
from tests.helpers import tiny_liberty
from tests.helpers.tflite_builder import residual_network
from tflm_export import ModelError, UsageError, narrow
from tflm_export.arithmetic import Narrow, Tflm
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid, grid_of
from tflm_export.simulator import simulate

ROOT = pathlib.Path(__file__).resolve().parents[2]
command = importlib.import_module("benchmarks.hardware.__main__")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> liberty.Library:
    path = tmp_path_factory.mktemp("library") / "tiny.lib"
    path.write_text(tiny_liberty.text())
    return liberty.read(str(path))


@dataclasses.dataclass(frozen=True)
class Small:
    """A design of a test's own, with what a job asks of one."""

    top: str
    sources: tuple
    lanes: int = 1
    label: str = "a test's"
    key: str = "test"
    accumulator: designs.Accumulator = WIDE

    def made(self, multiplier: str) -> dict:
        return {}


def small(folder: pathlib.Path, text: str) -> Small:
    (folder / "block.v").write_text(text)
    return Small("block", (folder / "block.v",))


INVERTER = "module block (input a, output y); assign y = ~a; endmodule"
ADDER = "module block (input [3:0] a, input [3:0] b, output [4:0] y); assign y = a + b; endmodule"


def test_cells_are_read(library):
    assert (library.name, library.volts, library.nand_area) == ("tiny", 1.0, 4.0)
    assert {name: cell.area for name, cell in library.cells.items()} == tiny_liberty.AREAS
    xor = library.cells["XOR2"]
    assert xor.capacitances == pytest.approx({"A": 1e-15, "B": 2e-15})
    assert xor.functions["Y"].truth == (0, 1, 1, 0)
    assert library.cells["DFF"].functions == {}


def test_an_inverter(tmp_path, library):
    """One cell of 2 um2, whose arc takes 10 ps into nothing; two transistors; one LUT."""
    one = small(tmp_path, INVERTER)
    found = synthesis.synthesise(Job(one, CELLS, CSA), library, tmp_path)
    assert found == {goal: {"area": 2.0, "ns": pytest.approx(0.010)} for goal in (AREA, SPEED)}
    assert synthesis.synthesise(Job(one, TRANSISTORS, CSA), None, tmp_path) == {"transistors": 2}
    assert synthesis.synthesise(Job(one, "ice40", CSA), None, tmp_path) == {
        "luts": 1, "dsps": 0, "cells": {"SB_LUT4": 1},
    }  # fmt: skip


def test_an_adder(tmp_path, library):
    """The area is that of the netlist's cells, and the netlist adds."""
    one = small(tmp_path, ADDER)
    job = Job(one, CELLS, CSA)
    found = synthesis.synthesise(job, library, tmp_path)
    for goal in (AREA, SPEED):
        written = json.loads((tmp_path / f"{goal}_netlist.json").read_text())["modules"]["block"]["cells"].values()
        assert found[goal]["area"] == sum(tiny_liberty.AREAS[cell["type"]] for cell in written) > 0
        netlist = Netlist(synthesis.netlist(tmp_path, goal, job), library.cells)
        a, b = np.arange(256) % 16, np.arange(256) // 16
        assert (netlist.outputs({"a": a, "b": b})["y"] == a + b).all()
        assert found[goal]["ns"] >= 0.010 * netlist.depth / 2


def test_multipliers_of_an_fpga():
    """Carry cells of an ECP5 stand for two LUTs, and DSP blocks are told from LUTs."""
    counted = {"LUT4": 10, "CCU2C": 3, "MULT18X18D": 2, "PFUMX": 7}
    assert synthesis.luts(counted, FPGAS["ecp5"]) == {"luts": 16, "dsps": 2, "cells": counted}
    counted = {"LUT2": 3, "LUT6": 4, "CARRY4": 5, "DSP48E1": 1}
    assert synthesis.luts(counted, FPGAS["xilinx7"])["luts"] == 7


def test_delays_are_the_last_that_abc_prints():
    log = 'ABC: Area =    35.83  Delay =   171.50 ps  ( 50.0 %)\nABC: WireLoad = "none"  Delay = 12964.43 ps  (3.0 %)\n'
    assert synthesis.nanoseconds(log) == pytest.approx(12.96443)
    with pytest.raises(UsageError, match="no delay"):
        synthesis.nanoseconds("ABC: nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no Liberty file: it has no group library"),
        ("PK\x03\x04 something else", "is no Liberty file"),
        (tiny_liberty.text("NAND2"), "no cell with an area that is a NAND of two inputs"),
        (tiny_liberty.text("DFF", "INV"), "an inverter and none that is a D flip-flop"),
        (tiny_liberty.text().replace("nom_voltage", "nom_process"), "does not say its nom_voltage"),
        (tiny_liberty.text().replace("capacitive_load_unit", "pulling_resistance_unit"), "no capacitive_load_unit"),
    ],
)
def test_a_file_that_is_no_library(tmp_path, capsys, text, message):
    path = tmp_path / "cells.lib"
    path.write_text(text)
    assert command.main(["hardware", f"--liberty={path}", f"--output={tmp_path / 'out'}", "--quick", "--bits=1"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert str(path) in shown.err
    assert message in shown.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--liberty=none.lib"], "cannot read none.lib"),
        (["--liberty=my cells.lib"], "ABC cannot read a file with ' ' in its path; copy it elsewhere"),
        (["--model=none.tflite"], "cannot read none.tflite"),
        (["--bits=8,7"], "--bits can be 16, 8, 6, 4, 3, csd2, 2, 1, folded, not 7"),
    ],
)
def test_wrong_usage(tmp_path, capsys, arguments, message):
    assert command.main(["hardware", *arguments, f"--output={tmp_path / 'out'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_pyosys(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command.main(["hardware", f"--output={tmp_path / 'out'}"]) == 2
    assert "pip install 'keras-rat[hardware]'" in capsys.readouterr().err


def test_a_model_without_rescales(tmp_path, capsys):
    path = tmp_path / "no.tflite"
    path.write_bytes(b"no model")
    assert command.main(["hardware", f"--model={path}", f"--output={tmp_path / 'out'}"]) == 1
    assert capsys.readouterr().err.startswith("hardware: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("grid", [None, Grid(4), grid_of(CSD)], ids=str)
def test_rescales_of_a_model_give_its_tensors(grid):
    """Of a residual network: what the rescales of the first layers give are those layers' outputs."""
    data = residual_network(batch=1)
    load = workload.of_model(data, "residual", grid)
    narrowed = data if grid is None else narrow(data, grid)[0]
    inputs = natural_inputs.random_inputs(parse(narrowed), 1).arrays
    trace = simulate(narrowed, inputs, Tflm() if grid is None else Narrow(grid))
    wanted = [
        op
        for op in trace.model.subgraphs[0].operators
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]
    flat = np.concatenate([trace[op.outputs[0]].reshape(-1) for op in wanted])
    assert load.orders[BY_PIXEL].outputs.tolist() == flat.tolist()
    by_channel = [trace[op.outputs[0]] for op in wanted]
    turned = np.concatenate([array.reshape(-1, array.shape[-1]).T.reshape(-1) for array in by_channel])
    assert load.orders[BY_CHANNEL].outputs.tolist() == turned.tolist()
    assert load.left_out == 0


@pytest.mark.parametrize("accumulator", [WIDE, NARROW], ids=str)
@pytest.mark.parametrize("name", [*designs.NAMES, STOCK])
def test_corners_fit_and_are_what_was_meant(name, accumulator):
    """Ports hold the corners bit for bit: the integers come back from them."""
    one = design(name, accumulator)
    found = workload.corners(one, 2000)
    vectors = workload.ports(one, found)
    most = 1 << (accumulator.bits - 1)
    assert vectors["acc"].min() == -most
    assert vectors["acc"].max() == most - 1
    assert (vectors["shift"] + one.shift_min == found.rescale.shift).all()
    if name == CSD:
        m = (1 << vectors["distance"]) + np.where(vectors["negative"], -1, 1)
    else:
        m = vectors.get("multiplier", 0) + (1 << (one.bits - 1))
    assert (m == found.rescale.multiplier).all()
    if name == FOLDED:
        y = np.clip(vectors["acc"] >> (vectors["shift"] + 1), found.low, found.high)
        assert (y == found.outputs).all()


def test_what_does_not_fit_is_left_out_or_an_error():
    one = design("8", NARROW)
    load = workload.random(one.grid, 256)
    wide = dataclasses.replace(load.orders[BY_CHANNEL], accumulators=np.full(256, 1 << 23))
    with pytest.raises(ModelError, match=r"24-bit accumulator.*no room for accumulator 8388608"):
        workload.ports(one, wide)
    mixed = dataclasses.replace(
        load,
        orders={
            order: dataclasses.replace(found, accumulators=np.arange(256) << 16) for order, found in load.orders.items()
        },
    )
    assert (len(mixed.fitting(one)), mixed.fitting(one).left_out) == (128, 128)


@pytest.mark.parametrize("accumulator", [WIDE, NARROW], ids=str)
@pytest.mark.parametrize("name", [*designs.NAMES, STOCK])
def test_zero_factors(name, accumulator):
    """What is fed in place of a factor of 0 leaves nothing of an accumulator, or is left out."""
    one = design(name, accumulator)
    accumulators = np.array([0, 1, -5, 100, -(1 << 14), 1 << 22, -(1 << 23)])
    rescale, zero = workload.corners(one, 7).rescale, np.zeros(7, np.int64)
    rescale = type(rescale)(zero, zero)
    ends = (np.full(7, end) for end in (3, -128, 127))
    found = workload.Workload("", 7, {BY_CHANNEL: workload.Rescales(accumulators, rescale, *ends)}).fitting(one)
    vectors = workload.ports(one, found.orders[BY_CHANNEL])
    s = vectors["shift"] + one.shift_min
    half = 1 << (s - 1)
    m = 0 if name == CSD else vectors.get("multiplier", 0) + (1 << (one.bits - 1))
    y = vectors["acc"] >> s if name == FOLDED else 3 + ((vectors["acc"] * m + half) >> s)
    assert (y == 3).all()
    if accumulator == WIDE and name != FOLDED:
        assert len(found) == 7


@pytest.mark.parametrize("name", ["1", "3", CSD, FOLDED])
def test_netlists_equal_the_simulator(name, library, tmp_path):
    one = design(name, NARROW)
    load = workload.random(one.grid, 500).fitting(one)
    job = Job(one, CELLS, one.multipliers[0])
    found = energy.measure(job, synthesis.smallest(job, library, Store(tmp_path)), library.volts, load)
    assert found["rescales"] == len(load) - 1
    assert 0 < found["picojoules"][BY_CHANNEL] < found["picojoules"][BY_PIXEL]


def test_a_netlist_that_differs_is_an_error(library, tmp_path):
    one = design("1", NARROW)
    job = Job(one, CELLS, NO_MULTIPLIER)
    broken = synthesis.smallest(job, library, Store(tmp_path))
    way, rows = broken._ports["y"]
    broken._ports["y"] = way, rows[[1, 0, *range(2, 8)]]
    with pytest.raises(
        ModelError, match=r"k = 1.*differs from the simulator in \d+ of 32768 rescales; acc .* in place of"
    ):
        energy.measure(job, broken, library.volts, workload.random(one.grid, 64))


def test_results_are_kept(tmp_path, library, monkeypatch):
    job, store = Job(small(tmp_path, INVERTER), CELLS, CSA), Store(tmp_path / "kept")
    first = synthesis.kept(job, library, store)
    monkeypatch.setattr(yosys, "run", lambda *_: pytest.fail("it was there"))
    assert synthesis.kept(job, library, store) == first
    assert synthesis.smallest(job, library, store).outputs({"a": np.arange(2)})["y"].tolist() == [1, 0]
    before = job.hash(library)
    assert dataclasses.replace(library, digest="another").digest != library.digest
    assert job.hash(dataclasses.replace(library, digest="another")) != before
    assert dataclasses.replace(job, multiplier="Booth").hash(library) != before
    (tmp_path / "block.v").write_text(ADDER)
    assert job.hash(library) != before


@contextlib.contextmanager
def few_fpgas() -> Iterator[None]:
    """Without those that take longest; afterwards they are all there again, in their order."""
    every = dict(FPGAS)
    try:
        for kind in ("ice40", "xilinx7"):
            del FPGAS[kind]
        yield
    finally:
        FPGAS.clear()
        FPGAS.update(every)


@pytest.fixture(scope="module")
def run(tmp_path_factory, library) -> pathlib.Path:
    """A run of k = 1 with the tiny library and a small model."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.tflite").write_bytes(residual_network(batch=1))
    with few_fpgas():
        assert command.main(arguments(folder, library)) == 0
    return folder


def arguments(folder: pathlib.Path, library: liberty.Library) -> list[str]:
    given = (f"--liberty={library.path}", f"--model={folder / 'small.tflite'}", f"--output={folder / 'out'}")
    return ["hardware", "--quick", "--bits=1", "--jobs=2", *given]


@pytest.mark.slow
def test_a_run(run, library, capsys):
    stored = json.loads((run / "out" / "hardware.json").read_text())
    stock, narrow_one, mac = stored["designs"]
    assert [row["name"] for row in stored["designs"]] == [STOCK, "1", "mac"]
    assert narrow_one["nand2"] == narrow_one["um2"] / 4
    assert narrow_one["um2"] < 0.2 * stock["um2"]
    assert narrow_one["pj"] < 0.2 * stock["pj"]
    assert narrow_one["transistors"] < 0.2 * stock["transistors"]
    assert all(narrow_one[f"{kind}_luts"] < stock[f"{kind}_luts"] for kind in ("ice40_dsp", "ecp5"))
    assert (narrow_one["ecp5_dsps"], stock["ecp5_dsps"]) == (0, 4)
    assert (mac["pj"], mac["ecp5_luts"]) == (None, None)
    assert stored["goals"] == []  # which are for another library
    assert narrow_one["table_bytes"] == -(-stored["factors"] * 5 // 8)
    with (run / "out" / "hardware.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["um2"]) for line in lines] == [row["um2"] for row in stored["designs"]]
    assert "before layout" in (run / "out" / "hardware.md").read_text()
    for name in ("hardware.png", "rescaler.png"):
        assert (run / "out" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(run, library, capsys):
    before = json.loads((run / "out" / "hardware.json").read_text())
    ran = []
    honest = yosys.run
    for lost, runs in (("1_*energy*", 1), ("1_*_cells_*", 2)):  # of yosys: the library's cells, and what was lost
        next((run / "out" / "kept").glob(lost)).unlink()
        ran.clear()
        with few_fpgas(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(yosys, "run", lambda script, *rest: ran.append(script) or honest(script, *rest))
            assert command.main(arguments(run, library)) == 0
        assert len(ran) == runs
    after = json.loads((run / "out" / "hardware.json").read_text())
    assert after["designs"] == before["designs"]
    shown = capsys.readouterr().out
    assert "Standard cells, 32-bit accumulator" in shown
    assert "before layout" in shown


@pytest.mark.slow
def test_the_page_has_it(run):
    assert page.main(["page", str(run)]) == 0
    text = (run / "report.html").read_text()
    assert '<h2 id="hardware">In silicon' in text
    assert "before layout" in text
    assert "Standard cells, 32-bit accumulator, 5-bit shift" in text
    assert text.count("<figure") == 4  # area, delay, energy; accuracy


def row(name, um2, pj, bits=32):
    return {"name": name, "accumulator_bits": bits, "lanes": 1, "um2": um2, "pj": pj}


def test_goals_are_shares_of_the_stock_rescaler():
    found = goals.judge(
        [row(STOCK, 1000.0, 10.0), row("8", 360.0, 2.3), row("8", 251.0, 1.0, 24), row(STOCK, 1.0, 1.0, 24)]
    )
    shown = [(goal["accumulator_bits"], goal["value"], goal["ratio"], goal["holds"]) for goal in found]
    assert shown == [(32, "um2", 0.36, True), (32, "pj", pytest.approx(0.23), False), (24, "um2", 0.251, False)]
    assert goals.judge([row(STOCK, None, None), row("8", None, None)]) == []


def test_accuracies_are_those_published():
    found = accuracy.differences()
    assert found["RAT"]["1"]["tasks"] >= 8
    assert found["RAT"]["1"]["least"] <= found["RAT"]["1"]["mean"] <= found["RAT"]["1"]["most"]
    assert found["RAT"]["csd2"]["tasks"] >= 3
    assert found["RAT"]["4"] == accuracy.differences(accuracy.RESULTS[:1])["RAT"]["4"]
    assert accuracy.differences([ROOT / "none.csv"]) == {}


def test_tables_go_between_marks():
    page_text = f"# A page\n\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\n\nmore\n"
    once = report.between_marks(page_text, "new")
    assert once == f"# A page\n\n{report.MARKS[0]}\n\nnew\n{report.MARKS[1]}\n\nmore\n"
    assert report.between_marks(once, "new") == once


def test_the_order_of_designs_and_lanes():
    plan = measure.Plan(("8", CSD, "1"))
    singles = [(one.name, one.accumulator.bits) for one in plan.designs if one.lanes == 1]
    assert singles == [(n, bits) for bits in (32, 24) for n in (STOCK, "8", CSD, "1")] + [("mac", 32)]
    assert [(one.name, one.lanes) for one in plan.designs if one.lanes > 1] == [
        ("8", 16),
        ("8", 32),
        ("1", 16),
        ("1", 32),
    ]


def test_bytes_of_tables():
    """577 factors of the keyword spotter: k - 1 bits and a shift each; two digits take three bits."""
    assert [design(n).table_bytes(577) for n in (STOCK, "8", "1", CSD)] == [4616, 866, 361, 577]
    assert design("8", NARROW).table_bytes(577) == 794


def test_the_documentation_has_the_published_tables():
    """The tables of docs/hardware.md are those of the published run, which had a library and every rescaler."""
    docs = ROOT / "docs"
    stored = json.loads((docs / "results" / "hardware" / "hardware.json").read_text())
    page_text = (docs / "hardware.md").read_text()
    assert report.between_marks(page_text, report.markdown(stored)) == page_text
    assert {row["name"] for row in stored["designs"]} == {STOCK, *designs.NAMES, "mac"}
    assert all(row["um2"] for row in stored["designs"])
    assert all(row["pj"] for row in report.single(stored, 24))
    assert page.collect(docs / "results")["hardware"][0].charts
