# SPDX-License-Identifier: Apache-2.0
"""What others install: the distributions hold what is needed, and the README's first lines work from them."""

import email
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tflm_export
from tests.helpers.tflite_builder import residual_network

ROOT = pathlib.Path(__file__).resolve().parents[1]
NO_SOURCE = (".git", ".venv", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def run(*command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """The source distribution, and the wheel that is made from it; built from a copy, to leave nothing here."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NO_SOURCE))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source")
    (source,), (wheel,) = (list((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return source, wheel


@pytest.fixture(scope="module")
def metadata(distributions) -> email.message.Message:
    with zipfile.ZipFile(distributions[1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(wheel.read(name))


def test_an_index_would_take_both(distributions):
    run(sys.executable, "-m", "twine", "check", "--strict", *distributions)


def test_wheel_holds_every_file_of_the_packages(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    packages = {
        path.relative_to(ROOT).as_posix()
        for package in ("keras_rat", "tflm_export")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == packages
    assert {
        "keras_rat/py.typed",
        "tflm_export/py.typed",
        "tflm_export/kernels/narrow_kernels.h",
        "tflm_export/rtl/verilog/narrow_rescale.v",
    } <= held


def test_source_distribution_holds_the_gate(distributions):
    with tarfile.open(distributions[0]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = {".ci/run", "Makefile", "constraints.txt", "constraints-newest.txt", "mkdocs.yml", "docs/exporter.md",
              "tests/conftest.py", "tests/kernels/smoke_test.c", "benchmarks/data_manifest.json", "LICENSE",
              "CITATION.cff"}  # fmt: skip
    assert needed <= held


def test_oldest_set_has_the_oldest_tensorflow_that_is_allowed(metadata):
    (oldest,) = re.findall(r"^tensorflow>=([\d.]+);", "\n".join(metadata.get_all("Requires-Dist")), re.MULTILINE)
    pinned = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    assert re.search(rf"^tensorflow=={re.escape(oldest)}\.", pinned, re.MULTILINE)
    assert re.search(rf"^tf-keras=={re.escape(oldest)}\.", pinned, re.MULTILINE)


def test_one_version(metadata):
    assert metadata["Version"] == tflm_export.__version__ == importlib.metadata.version("keras-rat")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{tflm_export.__version__}]" in changes


def test_description_has_no_links_into_the_checkout(metadata):
    text = metadata.get_payload()
    repository = dict(url.split(", ") for url in metadata.get_all("Project-URL"))["Repository"]
    links = re.findall(r"\]\(([^)\s]+)", text)
    assert f"{repository}/docs/exporter.md" in links
    assert f"![Accuracy against multiplier width]({repository}/docs/results/accuracy.png)" in text
    assert [link for link in links if not link.startswith("https://")] == []


def test_readmes_first_lines(distributions, tmp_path):
    """`pip install`, of the wheel and without what is installed already, and then the program."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```sh\n(.*?)```", readme, re.DOTALL).group(1)
    install, export = (line.split("#")[0].split() for line in first.splitlines())
    assert install == ["pip", "install", "."]
    site = tmp_path / "site"
    run(sys.executable, "-m", *install[:2], "--no-deps", "--no-index", "--target", site, distributions[1])
    (tmp_path / "MODEL.tflite").write_bytes(residual_network(batch=1))
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    program = [site / "bin" / export[0], *export[1:], "--c_source", ".", "--core", "cortex-m4"]  # the kernels, too
    run(*program, cwd=tmp_path, env=environment)
    assert not tflm_export.check((tmp_path / "MODEL_k1.tflite").read_bytes(), 1).offenders
    assert (tmp_path / "narrow_kernels.h").is_file()
    where = run(sys.executable, "-c", "import tflm_export; print(tflm_export.__file__)", cwd=tmp_path, env=environment)
    assert where.stdout.strip() == str(site / "tflm_export" / "__init__.py")
