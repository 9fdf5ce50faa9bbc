# SPDX-License-Identifier: Apache-2.0
"""What others measured, and the parts of the cycle model, in the docs as in the code."""

import pathlib

import pytest

from tests.helpers.tflite_builder import residual_network

pytest.importorskip("capstone", reason="capstone is not installed")

from benchmarks import command, datasets, device, parts, silicon
from tflm_export import cores

DOCS = (pathlib.Path(__file__).parents[2] / "docs" / "device.md").read_text()


def test_milliseconds_and_cycles_follow_from_the_rate_and_the_clock():
    first = silicon.RESULTS[0]
    assert first.milliseconds("AD") == pytest.approx(1000 / 99.487)
    assert first.cycles("AD") == pytest.approx(120e6 / 99.487)


@pytest.mark.parametrize("result", silicon.RESULTS, ids=lambda r: f"{r.submitter} {r.version} {r.cpu}")
def test_every_result_is_in_the_docs(result):
    cells = " | ".join(f"{result.milliseconds(n):.2f} ms, {result.cycles(n) / 1e6:.2f} M" for n in silicon.NETWORKS)
    folder = f"https://github.com/mlcommons/tiny_results_{result.version}/tree/main/{result.folder}"
    row = f"| {result.submitter}, {result.software} | [{result.version}]({folder}) | {result.board} | {cells} |"
    assert row in DOCS


@pytest.mark.parametrize("part", parts.PARTS.values(), ids=lambda part: part.name)
def test_every_part_is_in_the_docs(part):
    assert cores.find(part.cpu).name == part.cpu
    assert part.source
    flash = part.flash
    cache = "shared" if flash.is_shared else f"{flash.data_cache_bytes}" if flash.data_cache_bytes else "none"
    numbers = f"{part.mhz} | {flash.wait_states} | {flash.line_bytes} | {flash.cache_bytes} | {cache}"
    prefetch = "yes" if flash.prefetch else "no"
    assert f"| `{part.name}` | {part.title} | {part.cpu} | {numbers} | {prefetch} | {part.source} |" in DOCS
    assert f"- `{part.name}`: {part.assumed}." in DOCS


def test_networks_are_known_by_their_shapes():
    assert silicon.network(residual_network(batch=1)) == ""
    assert silicon.table("", "cortex-m4") is None
    assert silicon.table("KWS", "cortex-m3") is None
    console = command.console(200)
    with console.capture() as captured:
        console.print(silicon.table("KWS", "cortex-m0plus"))
    assert "NUCLEO-G0B1RE, 64 MHz  474.61  30,374,941" in captured.get()


def test_the_reference_networks():
    folder = datasets.data_folder()
    if folder is None:
        pytest.skip("no data folder")
    for name, path in device.SUITES["mlperf_tiny"].items():
        if not (folder / path).is_file():
            pytest.skip(f"no {path} in the data folder")
        assert silicon.network((folder / path).read_bytes()) == name
