# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, and every block of code in it runs as printed.

A block with a title is a file; `sh` blocks are run, with `python` being this one; `python` blocks without a title are
programs. A page's blocks run in order in one folder, which for all but the tutorial holds the tutorial's digits.tflite.
Those of tflm.md, which need TFLM, are run by tests/kernels/test_tflm.py and test_tflm_commands.py.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
ELSEWHERE = (TUTORIAL, DOCS / "tflm.md")
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title or an empty string, and its text."""

    language: str
    title: str
    text: str


def blocks(page: pathlib.Path) -> list[Block]:
    return [Block(*block) for block in FENCE.findall(page.read_text(encoding="utf-8"))]


def run_page(page: pathlib.Path, folder: pathlib.Path) -> None:
    here = pathlib.Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
            continue
        command = {"sh": ["sh", "-e", "-c"], "python": [sys.executable, "-W", "error", "-c"]}[block.language]
        done = subprocess.run(
            [*command, block.text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{page.name}:\n{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory) -> pathlib.Path:
    """The folder in which the tutorial ran."""
    folder = tmp_path_factory.mktemp("tutorial")
    run_page(TUTORIAL, folder)
    return folder


def test_tutorial_ends_on_the_board(tutorial):
    assert (tutorial / "device" / "report.json").exists()


@pytest.mark.parametrize(
    "page",
    [page for page in sorted(DOCS.glob("*.md")) if page not in ELSEWHERE and blocks(page)],
    ids=lambda page: page.stem,
)
def test_page_runs(page, tutorial, tmp_path):
    shutil.copy(tutorial / "digits.tflite", tmp_path)
    run_page(page, tmp_path)


def test_every_flag_of_the_exporter_is_documented():
    help_text = subprocess.run(
        [sys.executable, "-m", "tflm_export", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    known = set(re.findall(r"^\s*(?:-h,)?--(?:\[no\])?(\w+):", help_text, re.MULTILINE)) - {
        "help",
        "flagfile",
        "undefok",
    }
    documented = set(re.findall(r"`--(?:no(?=metadata))?(\w+)", (DOCS / "exporter.md").read_text(encoding="utf-8")))
    assert len(known) > 10
    assert known - documented == set()
    assert documented - known == set()


def test_site_builds_without_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    formulas = (tmp_path / "site" / "how_it_works.html").read_text(encoding="utf-8")
    assert formulas.count("<math") > 20
    for page in (tmp_path / "site").glob("*.html"):  # nothing is fetched from elsewhere to read it
        assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page.read_text(encoding="utf-8")), (
            page
        )
