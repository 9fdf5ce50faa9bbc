# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.training`, shortened: its files are there and agree with themselves."""

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.sweep(4)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*flags):
    command = [sys.executable, "-m", "benchmarks.training", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_report_and_figure(tmp_path):
    done = run("--networks=dense", "--rounds=3", "--steps=1", "--batch=4", "--memory_runs=0", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "training.json").read_text())
    results = {result["kind"]: result for result in report["results"]}
    assert set(results) == {"tfmot QAT", "RAT requantize", "RAT keep"}
    assert results["tfmot QAT"]["ratio"] == 1
    for kind, result in results.items():
        assert 0 < result["low"] <= result["ratio"] <= result["high"]
        assert result["megabytes"] is None
        assert kind in done.stdout
        assert f"{result['ratio']:.3f}" in done.stdout
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("flag", ["--networks=lenet", "--bits=0", "--rounds=0", "left_over"])
def test_wrong_flags(flag, tmp_path):
    done = run(flag, f"--output={tmp_path / 'out'}")
    assert done.returncode != 0
    assert flag.rpartition("=")[2] in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()
