# SPDX-License-Identifier: Apache-2.0
"""Every source file says its licence in its head, in the form that licence scanners read."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "bazel", "cmake", "keras_rat", "tests", "tflm_export")
SUFFIXES = {".bazel", ".bzl", ".c", ".cc", ".cmake", ".h", ".ld", ".py", ".v"}


def test_spdx():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    files += [*ROOT.glob("*"), ROOT / ".ci/run"]
    sources = [
        path for path in files if path.suffix in SUFFIXES or path.name in ("Makefile", "WORKSPACE") or path == files[-1]
    ]
    assert len(sources) > 100
    heads = {path: path.read_text(encoding="utf-8").splitlines()[:2] for path in sources}
    lacking = [
        str(path.relative_to(ROOT))
        for path, lines in heads.items()
        if lines and not any(line.strip("/#* ") == "SPDX-License-Identifier: Apache-2.0" for line in lines)
    ]
    assert lacking == []


def test_licence_is_the_one_that_is_named():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
