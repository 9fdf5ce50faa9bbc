"""`python -m benchmarks.demo`, shortened: everything it promises is there and consistent."""

import json
import pathlib
import subprocess
import sys

import pytest

from tflm_export import check

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder and printed output of a short run at one bit."""
    folder = tmp_path_factory.mktemp("demo")
    flags = ["--bits=1", "--epochs=8", "--tuning_epochs=1", f"--output={folder}"]
    command = [sys.executable, "-m", "benchmarks.demo", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_report_describes_the_files(run):
    folder, _ = run
    report = json.loads((folder / "report.json").read_text())
    assert {path.stem for path in folder.glob("*.tflite")} == {result["name"] for result in report["results"]}
    assert report["data"]["test_rows"] == 719
    for result in report["results"]:
        data = (folder / f"{result['name']}.tflite").read_bytes()
        assert set(result["accuracy"]) == {"LiteRT", "TFLM"}
        if result["bits"] is not None:
            assert result["width"] == check(data, 31).max_bits
            assert result["width"] <= result["bits"]
    trained = [result for result in report["results"] if result["model"] == "RAT"]
    assert {(result["method"], result["bits"]) for result in trained} == {("requantize", 1), ("keep", 1)}
    for result in trained:
        assert (folder / f"{result['name']}.h5").is_file()


def test_accuracy_is_that_of_a_trained_model(run):
    """Ten classes: chance is 10 %; eight epochs reach more than 90 %, and narrowing after training keeps it."""
    report = json.loads((run[0] / "report.json").read_text())
    accuracy = {result["name"]: result["accuracy"] for result in report["results"]}
    assert min(accuracy["float"].values()) > 0.9
    assert min(accuracy["int8_requantize_k1"].values()) > min(accuracy["int8"].values()) - 0.02


def test_emulated_cores_compute_what_the_simulator_does_and_save_cycles(run):
    report = json.loads((run[0] / "report.json").read_text())
    accuracy = {
        result["bits"]: result["accuracy"]["TFLM"] for result in report["results"] if "keep" not in result["name"]
    }
    cycles = {(r["cpu"], r["rescale"]): r["total_cycles"] for r in report["device"]}
    for emulated in report["device"]:
        assert emulated["equal"]
        assert emulated["samples"] == 719
        assert emulated["accuracy"] == pytest.approx(accuracy[31 if emulated["rescale"] == "stock" else 1], abs=0.02)
    for cpu in ("cortex-m0plus", "cortex-m4"):
        assert cycles[cpu, 1] < cycles[cpu, "stock"]


def test_table_and_picture(run):
    folder, printed = run
    assert (folder / "accuracy_vs_bits.png").read_bytes().startswith(b"\x89PNG")
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    emulated = [line for line in rows if "cortex" in line]
    assert len(rows) - len(emulated) == 7  # float, stock, two methods after training, QAT, RAT on both grids
    assert len(emulated) == 4  # two cores, stock and shift-only rescales
