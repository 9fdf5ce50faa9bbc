# SPDX-License-Identifier: Apache-2.0
"""Every benchmark explains itself, and says in a line what is wrong with how it was called."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.helpers.sweeps import sampled

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = [path for path in BENCHMARKS.glob("*.py") if 'if __name__ == "__main__"' in path.read_text()]
PACKAGES = [path.parent for path in BENCHMARKS.glob("*/__main__.py")]
COMMANDS = sorted(path.stem for path in (*FILES, *PACKAGES))


def loaded(name: str):
    is_package = (BENCHMARKS / name).is_dir()
    return importlib.import_module(f"benchmarks.{name}{'.__main__' if is_package else ''}")


def test_all_of_them_are_known():
    assert COMMANDS == [
        "accuracy",
        "applications",
        "corpus",
        "costs",
        "demo",
        "device",
        "exporter",
        "fetch_data",
        "hardware",
        "notebook",
        "page",
        "peers",
        "training",
    ]


@pytest.mark.sweep(5)
@pytest.mark.parametrize("module", sampled(COMMANDS, 3))
def test_help(module):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--help"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: python -m benchmarks.{module}" in done.stdout
    described = loaded(module).__doc__
    assert done.stdout.startswith(described)
    assert "--output: Folder for the results." in done.stdout
    assert str(ROOT) not in done.stdout
    assert not re.findall(r"^\S*benchmarks\.[\w.]+:$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("argument", ["--colour=red", "--output"])
def test_wrong_flags_are_an_error_of_one_line(module, argument, capsys):
    assert loaded(module).main([module, argument]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{module}: ")
    assert argument.strip("-").partition("=")[0] in shown.err
    assert shown.err.count("\n") == 1


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "out"
    assert importlib.import_module("benchmarks.demo").main(["demo", f"--output={folder}"]) == 2
    assert capsys.readouterr().err == f"demo: cannot write {folder}: Not a directory\n"
