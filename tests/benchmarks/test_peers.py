# SPDX-License-Identifier: Apache-2.0
"""TFLM beside C: the tables say what was measured, and what is there already is not measured again."""

import csv
import json

import pytest

from tests.helpers import tflm_application as users
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import UsageError

for module in ("unicorn", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import command, peers, peers_report  # noqa: E402
from benchmarks.emulators import tflm  # noqa: E402

M4 = "cortex-m4"
MADE = peers_report.Made((M4,), 1, "gcc", "zero wait states", "python -m benchmarks.peers", "of August")


def side(cycles: float, flash: int = 1000, equal: bool = True) -> dict:
    layers = [["CONV_2D", "y", cycles]]
    return {"cycles": cycles, "flash": flash, "ram": 300, "stack": 100, "equal": equal, "layers": layers}


def ran(theirs: float, stock: float, narrow: float, **more) -> dict:
    """A result on the M4."""
    return {
        M4: {"title": "TFLM + CMSIS-NN", "tflm": side(theirs) | more, "c": {"stock": side(stock), "1": side(narrow)}}
    }


RESULTS = {
    "wins": ran(8e6, 4e6, 2e6),
    "loses": ran(1e6, 4e6, 2e6),
    "of_uint8": ran(2e6, 2e6, 2e6, converted=True),
    "fat": ran(2e6, 1e6, 1e6) | {},
    "none": {"reason": "there is no C: 1 CUSTOM:x: it is not simulated"},
    "theirs": {M4: {"tflm": {"reason": "TFLM has no LOG_SOFTMAX"}}},
    "ours": {M4: {"tflm": side(1e6), "c": {"stock": {"reason": "the linker failed"}}}},
    "whole": {M4: {"tflm": side(1e6), "c": {"stock": side(1e6), "1": {"reason": "the model has no int8 rescale"}}}},
    "died": {"problem": "not done within 3600 seconds"},
}
RESULTS["fat"][M4]["c"]["1"]["flash"] = 5000
RESULTS["wins"][M4]["c"]["stock"]["layers"] *= 3


def test_the_smallest_gain_comes_first():
    found = peers_report.pairs(RESULTS, M4, 1)
    assert [(pair.label, pair.ratio, pair.stock_ratio) for pair in found] == [
        ("loses", 0.5, 0.25), ("of_uint8, as int8", 1.0, 1.0), ("whole, stock", 1.0, 1.0), ("fat", 2.0, 2.0),
        ("wins", 4.0, 2.0),
    ]  # fmt: skip
    assert peers_report.geometric_mean([pair.ratio for pair in found]) == pytest.approx(4**0.2)


def test_what_is_not_compared_has_its_reason():
    assert peers_report.left_out(RESULTS, M4, 1) == {
        "died": "not done within 3600 seconds",
        "none": "there is no C: 1 CUSTOM:x: it is not simulated",
        "ours": "the linker failed",
        "theirs": "TFLM has no LOG_SOFTMAX",
    }
    assert set(peers_report.left_out(RESULTS, "cortex-m0plus", 1).values()) >= {"not measured"}


def test_the_page():
    page = peers_report.markdown(RESULTS, MADE)
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    cells = [dict(zip(head[:6], row, strict=False)) for row in rows]
    assert [cell["model"] for cell in cells[:5]] == ["loses", "of_uint8, as int8", "whole, stock", "fat", "wins"]
    assert cells[0]["TFLM + CMSIS-NN, M cycles"] == "1.000"
    assert (cells[0]["stock C"], cells[0]["k = 1"], cells[0]["k = 1, times fewer"]) == ("4.000", "2.000", "0.50")
    assert rows[3][6:10] == ["1.0", "5.0", "0.4", "0.4"]
    assert (
        "5 models run on both sides. Times fewer cycles than TFLM + CMSIS-NN, geometric mean: 1.32 (1.00 with" in page
    )
    assert "of the 1 networks of 3 layers or more, 4.00 (2.00 with the stock rescale)." in page
    assert "`--tflm_dir` holds (of August)" in page
    assert "Slower: loses (0.50)." in page
    assert "More flash: fat." in page
    assert "More RAM: none." in page
    assert "differs" not in page
    assert "| theirs | TFLM has no LOG_SOFTMAX |" in page
    assert "| none | there is no C of them" in page


def test_c_that_is_wrong_is_said_to_be():
    wrong = ran(8e6, 4e6, 2e6)
    wrong[M4]["c"]["1"]["equal"] = False
    page = peers_report.markdown({"bad": wrong}, MADE)
    assert "C that differs from the simulator: bad." in page


def test_csv():
    rows = list(csv.DictReader(peers_report.to_csv(RESULTS).splitlines()))
    of = {(row["model"], row["program"]): row for row in rows}
    assert float(of["wins", "tflm"]["cycles"]) == 8e6
    assert float(of["fat", "1"]["flash"]) == 5000
    assert of["of_uint8", "stock"]["converted"] == "True"
    assert of["theirs", "tflm"]["reason"] == "TFLM has no LOG_SOFTMAX"
    assert {row["cpu"] for row in rows} == {M4}


def test_nothing_to_draw_is_no_figure():
    assert peers_report.figure({"died": RESULTS["died"]}, [M4], 1) is None
    assert peers_report.figure(RESULTS, [M4], 1).startswith(b"\x89PNG")


def test_without_tflm_it_is_wrong_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(tflm.VARIABLE, raising=False)
    assert peers.main(["peers", f"--output={tmp_path}", "some.tflite"]) == command.EXIT_USAGE
    assert "pass --tflm_dir or set TFLM_DIR" in capsys.readouterr().err


def test_a_part_has_one_core(tmp_path, capsys):
    line = ["peers", "--part=stm32g0", f"--cpu={M4}", f"--output={tmp_path}", "some.tflite"]
    assert peers.main(line) == command.EXIT_USAGE
    assert "--part stm32g0 has a cortex-m0plus" in capsys.readouterr().err


def test_results_are_kept_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "_settings", lambda: None)
    paths = [tmp_path / folder / "model.tflite" for folder in ("a", "b")]
    assert peers.main(["peers", f"--output={tmp_path}", *map(str, paths)]) == command.EXIT_USAGE
    assert "several models are called model;" in capsys.readouterr().err


@pytest.fixture
def models(tmp_path) -> list[str]:
    """A small network, one of uint8, which TFLM refuses, and a file without C."""
    paths = []
    for name, kind in (("network", {}), ("of_uint8", {"type": "UINT8", "zero_point": 120})):
        b = TFLiteBuilder(1)
        x = b.input([1, 6, 6, 2], **kind)
        data = b.build(x, b.fully_connected(b.flatten(b.conv(x, 4, per_channel=not kind, name="stem")), 3))
        paths.append(tmp_path / f"{name}.tflite")
        paths[-1].write_bytes(data)
    paths.append(tmp_path / "broken.tflite")
    paths[-1].write_bytes(b"no model")
    return list(map(str, paths))


def test_the_command_line(models, tmp_path, capsys):
    """With the user's TFLM, on the M4; a second run measures nothing."""
    try:
        tflm.find(str(users.tflm()), M4)
    except UsageError as error:
        pytest.skip(str(error))
    line = ["peers", f"--cpu={M4}", f"--output={tmp_path / 'out'}", f"--publish={tmp_path / 'docs'}", *models]
    assert peers.main(line) == command.EXIT_OK
    assert "network" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "peers.json").read_text())["models"]
    network = stored["network"][M4]
    assert network["tflm"]["equal"]
    assert network["c"]["stock"]["equal"]
    assert network["c"]["1"]["equal"]
    assert stored["broken"]["reason"].startswith("there is no C")
    assert (tmp_path / "docs" / "peers.md").read_text() == (tmp_path / "out" / "peers.md").read_text()
    assert (tmp_path / "docs" / "results" / "peers.png").is_file()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()}
    assert len(files) == 3
    assert peers.main(line) == command.EXIT_OK
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()}
    assert {path.stem for path in files if files[path] != again[path]} <= {"broken"}
