# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, and every block of code in it runs as printed.

A block with a title is a file; `sh` blocks are run, with `python` being this one; `python` blocks without a title are
programs. A page's blocks run in order in one folder that holds a digits.tflite: the tutorial's, where the page takes
long anyway, otherwise one of random weights. The tutorial's own run as the cells of its notebook, and none of them
needs another's names.
Those of tflm.md, which need TFLM, are run by tests/kernels/test_tflm.py and test_tflm_commands.py.
"""

import os
import pathlib
import re
import subprocess
import sys

import nbclient
import nbformat
import pytest

from benchmarks import notebook
from benchmarks.notebook import blocks
from tests.recipes import generate

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = notebook.PAGE
LONG = ("training", "exporter")  # programs of many seconds, or many of them
ELSEWHERE = (TUTORIAL, DOCS / "tflm.md")


def run(command: list[str], folder: pathlib.Path) -> None:
    """Runs a command in a folder, in which `python` is this one."""
    here = pathlib.Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


def run_page(page: pathlib.Path, folder: pathlib.Path) -> None:
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        else:
            command = {"sh": ["sh", "-e", "-c"], "python": [sys.executable, "-W", "error", "-c"]}[block.language]
            run([*command, block.text], folder)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory) -> pathlib.Path:
    """The folder in which the tutorial's notebook ran, beside a checkout, as in Colab."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "checkout").symlink_to(ROOT)
    client = nbclient.NotebookClient(
        nbformat.read(notebook.NOTEBOOK, 4),
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
        kernel_name="python3",
    )
    ran = client.execute()
    nbformat.write(ran, folder / "tutorial.ipynb")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    """The tutorial's digits.tflite, of one epoch in the place of each training."""
    folder = tmp_path_factory.mktemp("digits")
    (program,) = (block.text for block in blocks(TUTORIAL) if block.title == "train.py")
    quick, plots = re.sub(r"epochs=\d+", "epochs=1", program).split("\nfigure, axes = ")
    assert plots
    run([sys.executable, "-c", quick], folder)
    return folder / "digits.tflite"


@pytest.mark.newest
@pytest.mark.slow
def test_tutorial_ends_on_the_board(tutorial):
    assert (tutorial / "device" / "report.json").exists()
    ran = nbformat.read(tutorial / "tutorial.ipynb", 4)
    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert re.search(r"^\d, probability \d+/256; it is a \d$", text, re.MULTILINE)
    assert re.search(r"= simulator\b", text)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_notebook_is_the_page():
    made = notebook.notebook(TUTORIAL.read_text(encoding="utf-8"), notebook.repository())
    assert notebook.NOTEBOOK.read_text(encoding="utf-8") == made, "python -m benchmarks.notebook"


def test_blocks_of_the_tutorial_stand_alone():
    for block in blocks(TUTORIAL):
        if block.language == "python":
            done = subprocess.run(
                [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "-"],
                input=block.text, text=True, capture_output=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page.stem in LONG), id=page.stem)
        for page in sorted(DOCS.glob("*.md"))
        if page not in ELSEWHERE and blocks(page)
    ],
)
def test_page_runs(page, request, tmp_path):
    model = request.getfixturevalue("trained").read_bytes() if page.stem in LONG else generate.model()
    (tmp_path / "digits.tflite").write_bytes(model)
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
