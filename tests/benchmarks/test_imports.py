# SPDX-License-Identifier: Apache-2.0
"""Benchmarks use the packages as anybody else can: public names, from modules that the package names as public."""

import ast
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("tflm_export", "keras_rat")
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def imported(path: pathlib.Path):
    """(module, name) of everything that a file imports from the packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] in PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_public_names(path):
    for module, name in imported(path):
        package, _, inner = module.partition(".")
        front = importlib.import_module(package)
        documented = re.findall(r"`([\w.]+)`", front.__doc__)
        assert not name.startswith("_")
        folders = inner.split(".")
        above = {".".join(folders[:n]) for n in range(1, len(folders) + 1)}  # a public package's modules are public
        assert above & {*documented} or name in documented or (not inner and name in ("", *front.__all__)), (
            module,
            name,
        )
