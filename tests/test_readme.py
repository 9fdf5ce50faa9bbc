# SPDX-License-Identifier: Apache-2.0
"""The README's example and commands, as printed."""

import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.helpers.tflite_builder import TFLiteBuilder

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(command: list[str], folder: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def uint8_model() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 8], type="UINT8", zero_point=3)
    return b.build(x, b.fully_connected(x, 4, zero_point=9))


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> pathlib.Path:
    """The folder in which the example ran."""
    folder = tmp_path_factory.mktemp("readme")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run([sys.executable, "-c", code], folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_example_writes_a_shift_only_model(example):
    done = run([sys.executable, "-m", "tflm_export", "--check", "--bits", "1", "digits.tflite"], example)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(python -m tflm_export [^`]*)`", README))))
def test_commands_run(example, line):
    model = example / "MODEL.tflite"
    model.write_bytes(uint8_model() if "--to_int8" in line else (example / "digits.tflite").read_bytes())
    (example / "MODELS").mkdir(exist_ok=True)
    (example / "MODELS" / "MODEL.tflite").write_bytes(model.read_bytes())
    np.savez(example / "DATA.npz", load_digits().images[:40] / 16)
    for made in example.glob("MODEL_*"):
        made.unlink()
    command = [sys.executable, *shlex.split(line)[1:]]
    done = run(command, example)
    assert done.returncode == 0, done.stdout + done.stderr
    if not {"--check", "--explain"} & set(command):
        suffix = "searched" if "--search" in command else f"k{command[command.index('--bits') + 1]}"
        suffix = f"int8_{suffix}" if "--to_int8" in command else suffix
        folder = example / ("narrow" if "--output_dir" in command else ".")
        assert (folder / f"MODEL_{suffix}.tflite").exists()
    if "--cc_array" in command:
        assert (example / "MODEL_k1_model_data.cc").exists()


def test_what_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^    |`)make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^(\S+ )*{target}( \S+)*:", makefile, re.MULTILINE), target
    for module in set(re.findall(r"python -m (benchmarks\.\w+)", README)):
        assert importlib.util.find_spec(module), module
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).is_file(), link
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert {name for names in re.findall(r"'\.\[([\w,]+)\]'", README) for name in names.split(",")} <= extras
    assert os.access(ROOT / ".ci/run", os.X_OK)
