# SPDX-License-Identifier: Apache-2.0
"""The corpus as C: what is built, run and compared, and what the table says of files for which there is none."""

import csv
import json

import pytest

from tests.benchmarks.test_borders import remembering
from tests.helpers import native
from tests.helpers.operators import A, B, one_operator
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import ModelError, c, narrow
from tflm_export.arithmetic import Tflm
from tflm_export.c.step import Problem

for module in ("unicorn", "elftools", "ziglang"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from benchmarks import c_corpus, corpus  # noqa: E402
from benchmarks.emulators import firmware, host  # noqa: E402
from benchmarks.emulators.execution import EngineError  # noqa: E402


def network() -> bytes:
    b = TFLiteBuilder(1)
    x = b.input([1, 6, 6, 2])
    return b.build(x, b.fully_connected(b.flatten(b.conv(x, 4, name="stem")), 3))


def partly_float(end: bool) -> bytes:
    """A network that computes in real numbers at its end, or in its middle."""
    b = TFLiteBuilder(1)
    x = b.input([1, 6])
    real = b.tensor("real", [1, 3], type="FLOAT32")
    b.operator("DEQUANTIZE", [b.fully_connected(b.fully_connected(x, 4, name="first"), 3)], [real])
    y = b.tensor("y", [1, 3], type="FLOAT32")
    b.operator("SOFTMAX", [real], [y], beta=1.0)
    return b.build(x, y if end else b.fully_connected(b.quantize(y), 2, name="last"))


@pytest.mark.slow
@native.requires_gcc
def test_tables(tmp_path):
    """A network, one that keeps state, one without C, one that does not narrow and a damaged one."""
    folder = tmp_path / "models"
    folder.mkdir()
    contents = {"network": network(), "state": remembering(), "broken": b"no model"}
    contents["middle"] = partly_float(end=False)
    contents["nothing"] = one_operator("MAXIMUM", [A, A], A)
    for name, data in contents.items():
        (folder / f"{name}.tflite").write_bytes(data)
    arguments = (
        f"corpus --c_source --bits=1 --folder={folder} --output={tmp_path / 'out'} --publish={tmp_path / 'docs'}"
    )
    assert corpus.main(arguments.split()) == 0
    found = json.loads((tmp_path / "out" / "c_corpus.json").read_text(encoding="utf-8"))
    assert sorted(found) == ["middle", "network", "state"]
    for name, rows in (("network", {"random": 20}), ("state", {"random frames": 200})):
        width = found[name]["widths"]["1"]
        assert width["rows"] == rows
        assert list(width["ran"]) == ["gcc", "zig", "M0+", "M4", "RV32IMC"]
        assert [ran["differences"] for ran in width["ran"].values()] == [0] * 5
        assert width["ran"]["gcc"]["elements"] == {"network": 3 * 20, "state": 5 * 200}[name]
        assert width["constants"] < width["flash"] < 10_000
    assert found["state"]["widths"]["1"]["kept"] > 0
    assert found["network"]["widths"]["1"]["kept"] == 0
    text = (tmp_path / "docs" / "c_corpus.md").read_text(encoding="utf-8")
    assert "3 of 5 files narrow; 2 of these (67%) have C, 0 among them with `--io int8`" in " ".join(text.split())
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[1].startswith("| middle | no: 1 SOFTMAX: FLOAT32 to FLOAT32 is not simulated |")
    assert any(line.startswith("| network | yes |") for line in lines[2:])
    assert all(line.endswith("| yes: gcc, zig, M0+, M4, RV32IMC |") for line in lines[2:])
    with (tmp_path / "docs" / "results" / "c_corpus.csv").open(encoding="utf-8") as stream:
        places = [(row["file"], row["place"], row["differences"]) for row in csv.DictReader(stream)]
    assert ("state", "M4", "0") in places
    assert ("middle", "", "") in places


@native.requires_gcc
def test_ends_without_integers_are_left_out(monkeypatch):
    monkeypatch.setattr(host, "COMPILERS", {"gcc": host.SANITIZED})
    monkeypatch.setattr(c_corpus, "CPUS", ())
    data, _ = narrow(partly_float(end=True), 8)
    *_, found = c_corpus._width("end", data, 8)
    assert found["ran"] == {"gcc": {"differences": 0, "elements": 60}}
    result = {"widths": {"8": found}}
    assert c_corpus.has_c(result)
    assert c_corpus.row("end", result, [8])[1] == "with --io int8, without 3 SOFTMAX"


def test_what_goes_wrong_is_in_the_row(monkeypatch):
    """Compilers, sanitizers and emulators that fail, and outputs that differ; the file goes on to the next place."""

    def fails(program, inputs, rows, compiler, folder, seconds):
        if compiler == "gcc":
            raise EngineError("it ended with exit code 1: AddressSanitizer")
        return [output + 1 for output in genuine(program, inputs, rows, compiler, folder, seconds)]

    def builds(program, cpu, folder, **options):
        if cpu == "cortex-m4":
            raise firmware.BuildError("zig failed for cortex-m4:\nno such thing")
        return build(program, cpu, folder, **options)

    genuine, build = host.run, firmware.build
    monkeypatch.setattr(host, "run", fails)
    monkeypatch.setattr(firmware, "build", builds)
    data, _ = narrow(network(), 8)
    *_, found = c_corpus._width("network", data, 8)
    result = {"widths": {"8": found}}
    *_, verdict = c_corpus.row("network", result, [8])
    assert verdict == (
        "no: k = 8, gcc: it ended with exit code 1: AddressSanitizer; k = 8, zig: 60 of 60 elements differ; "
        "k = 8, M4: zig failed for cortex-m4: no such thing"
    )
    died = c_corpus.row("network", {"widths": {}, "died": "exit code -9"}, [8])
    assert died[1] == "it ended exit code -9"


def test_reasons_are_counted_by_operator():
    problems = [("CONV_2D", "no kernel"), ("CONV_2D", "no kernel"), ("ADD", "too far: apart")]
    error = c.UnwritableError([Problem(op, f"operator {i} {op}", why) for i, (op, why) in enumerate(problems)])
    assert c_corpus.reasons(error) == "2 CONV_2D: no kernel; 1 ADD: too far: apart"
    assert c_corpus.reasons(ModelError("the model is huge")) == "the model is huge"
    with pytest.raises(ModelError) as raised:
        c.translate(one_operator("ATAN2", [A, A], B), "m", Tflm())
    assert c_corpus.reasons(raised.value) == "1 ATAN2: ATAN2 is not simulated"
