# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.demo`, shortened: everything it promises is there and consistent."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import datasets
from tflm_export import check, runtimes

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAMPLES = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder and printed output of a short run at one bit."""
    folder = tmp_path_factory.mktemp("demo")
    short = ["--bits=1", "--effort=0.2", f"--samples={SAMPLES}"]
    command = [sys.executable, "-m", "benchmarks.demo", *short, f"--output={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def rows(run) -> dict:
    """The rows of accuracy.csv by model, method and bits."""
    with open(run[0] / "accuracy.csv", newline="") as file:
        return {(row["model"], row["method"], row["bits"]): row for row in csv.DictReader(file)}


def test_the_table_describes_the_files(run, rows):
    folder = run[0] / "cells" / "digits" / "seed0"
    assert len(rows) == 2 + 2 * 6 + 2  # float, QAT, both methods after training, RAT on both grids
    names = {path.stem for path in folder.glob("*.tflite")}
    assert {path.stem for path in folder.glob("*.json")} == names | {"float"}
    trained = {"float", "qat", "rat_requantize_k1", "rat_keep_k1"}
    assert {path.stem for path in folder.glob("*.h5")} == trained
    for name in names - {"qat"}:
        assert check((folder / f"{name}.tflite").read_bytes(), int(name.rpartition("k")[2])).offenders == ()


def right_on_tflm(folder: pathlib.Path, name: str) -> np.ndarray:
    """Test rows whose digit a model of the run recognises on TFLM."""
    data = datasets.digits()
    model = (folder / "cells/digits/seed0" / f"{name}.tflite").read_bytes()
    inputs = runtimes.quantize_input(data.x_test, runtimes.LiteRT(model).input)
    return runtimes.run_all(runtimes.TFLM(model), inputs).argmax(1) == data.y_test


def test_accuracy_is_that_of_the_files(run, rows):
    """On TFLM, and of a trained model: ten classes, chance is 10 %."""
    right = right_on_tflm(run[0], "rat_requantize_k1")
    found = rows["RAT", "requantize", "1"]
    assert float(found["tflm_accuracy"]) == pytest.approx(right.mean(), rel=1e-5)
    assert float(found["accuracy"]) == pytest.approx(right.mean(), abs=0.01)
    assert float(rows["float", "", ""]["accuracy"]) > 0.9
    assert right.mean() > float(rows["QAT", "", "31"]["accuracy"]) - 0.02


def test_emulated_cores_compute_what_tflm_does_and_save_cycles(run):
    report = json.loads((run[0] / "device" / "report.json").read_text())
    models = {"stock": "qat", 1: "post-training_requantize_k1"}
    right = {rescale: right_on_tflm(run[0], name)[:SAMPLES].mean() for rescale, name in models.items()}
    cycles = {(r["cpu"], r["rescale"]): r["total_cycles"] for r in report["runs"]}
    for emulated in report["runs"]:
        assert emulated["equal"]
        assert emulated["samples"] == SAMPLES
        assert emulated["accuracy"] == right[emulated["rescale"]]
    for cpu in ("cortex-m0plus", "cortex-m4"):
        assert cycles[cpu, 1] < cycles[cpu, "stock"]


def test_table_picture_and_page(run):
    folder, printed = run
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3 + 3 + 4  # against width; multipliers; cycles and flash of two cores
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    assert len(rows) == 6  # at the trained width alone: float, QAT, two methods after training, RAT on both grids
    assert len([line for line in printed.splitlines() if "= simulator" in line]) == 4
