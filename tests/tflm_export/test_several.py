# SPDX-License-Identifier: Apache-2.0
"""Several models in one call: where they go, what is said of each, one exit code, a crash that costs one of them."""

import json
import os
import pathlib

import numpy as np
import pytest

import tflm_export
from tests.helpers import native
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import UsageError, check, metadata, narrow, outputs, several
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.several import Source
from tflm_export.simulator import simulate

NETWORK = residual_network(batch=1)


def small() -> bytes:
    b = TFLiteBuilder(5)
    x = b.input([1, 4, 4, 2], name="image")
    return b.build(x, b.conv(x, 3, name="conv"))


def partly() -> bytes:
    """With an operator that is not supported."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    return b.build(x, b.unknown(b.conv(x, 3), op="CUSTOM:strange"))


FILES = {
    "models/a.tflite": NETWORK,
    "models/b/a.tflite": small(),
    "models/b/c/UPPER.TFLITE": small(),
    "models/damaged.tflite": NETWORK[:200],
    "models/notes.txt": b"no model",
    "x.tflite": NETWORK,
    "y.tflite": small(),
    "partly.tflite": partly(),
}
NARROWED = {"out/a_k1.tflite": NETWORK, "out/b/a_k1.tflite": small(), "out/b/c/UPPER_k1.TFLITE": small()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def new_files(folder: pathlib.Path) -> dict[str, bytes]:
    """What is there besides FILES; a folder without files is there, too."""
    paths = [path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"" for path in paths}
    assert {name: found.pop(name) for name in FILES} == FILES
    return found


def run(*arguments: str) -> int:
    return main(["tflm_export", *arguments])


def narrowed(stock: bytes, bits: int = 1, **options) -> bytes:
    return metadata.attach(*narrow(stock, bits, **options))


def test_a_folder_keeps_its_shape_and_one_failure_stops_no_other(folder, capfd):
    assert run("--bits=1", "--output_dir=out", "--report=report.json", "models") == 1
    found = new_files(folder)
    report = json.loads(found.pop("report.json"))
    assert found == {path: narrowed(stock) for path, stock in NARROWED.items()}
    out, err = capfd.readouterr()
    assert err == "tflm_export: models/damaged.tflite: " + report["models"][3]["error"] + "\n"
    lines = out.splitlines()
    table = lines[lines.index("") + 1 :]
    assert table[0].split() == ["model", "narrow", "bits", "bytes"]
    order = ["models/a.tflite", "models/b/a.tflite", "models/b/c/UPPER.TFLITE", "models/damaged.tflite"]
    assert [line.split()[0] for line in table[1:]] == order == [model["model"] for model in report["models"]]
    for line, (path, stock) in zip(table[1:], NARROWED.items(), strict=False):
        count = len(narrow(stock, 1)[1].rows)
        assert line.split()[1:] == [str(count), "of", str(count), "1", str(len(narrowed(stock))), path]
    assert table[4].endswith(report["models"][3]["error"])
    assert "damaged" in report["models"][3]["error"]
    assert report["code"] == 1
    assert [model["code"] for model in report["models"]] == [0, 0, 0, 1]
    for model, (path, stock) in zip(report["models"], NARROWED.items(), strict=False):
        assert (model["output"], model["size"]) == (path, len(narrowed(stock)))
        assert model["report"] == json.loads(json.dumps(narrow(stock, 1)[1].to_dict()))
    assert (report["models"][3]["output"], report["models"][3]["report"]) == (None, None)


@pytest.mark.slow
def test_jobs_change_nothing_that_is_said_or_written(folder, capfd):
    """The models are said in their order, whichever is done first."""
    said = []
    for jobs in (1, 3):
        assert run("--bits=1", "--output_dir=out", "--overwrite", f"--jobs={jobs}", "models", "x.tflite") == 1
        said.append(capfd.readouterr())
    assert said[0] == said[1]
    headings = [line for line in said[0].out.split("\n\n")[0].splitlines() if not line.startswith(" ")]
    assert headings == ["models/a.tflite", "models/b/a.tflite", "models/b/c/UPPER.TFLITE", "x.tflite"]


def test_a_list_without_a_folder_is_written_beside_each(folder):
    assert run("--bits=2", "x.tflite", "models/b/a.tflite") == 0
    assert new_files(folder) == {"x_k2.tflite": narrowed(NETWORK, 2), "models/b/a_k2.tflite": narrowed(small(), 2)}


def test_one_model_into_a_folder(folder):
    assert run("--bits=2", "--output_dir=new/one", "models/b/a.tflite") == 0
    assert new_files(folder) == {"new/one/a_k2.tflite": narrowed(small(), 2)}


def test_outputs_in_the_folder_that_is_read_are_no_models(folder):
    for _ in range(2):
        assert run("--bits=1", "--output_dir=models/out", "--overwrite", "models") == 1
    assert {*new_files(folder)} == {f"models/{path}" for path in NARROWED}


def test_the_worst_code_wins(folder, capfd):
    """A file that exists is the command line's fault, the damaged one the model's."""
    (folder / "out").mkdir()
    (folder / "out/a_k1.tflite").write_bytes(b"precious")
    assert run("--bits=1", "--output_dir=out", "models") == 2
    found = new_files(folder)
    assert found.pop("out/a_k1.tflite") == b"precious"
    assert {*found} == {*NARROWED} - {"out/a_k1.tflite"}
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == ("tflm_export: models/a.tflite: out/a_k1.tflite exists already; pass --overwrite to replace it")
    assert lines[1].startswith("tflm_export: models/damaged.tflite: ")
    assert len(lines) == 2


def test_a_missing_file_is_a_row(folder, capfd):
    assert run("--bits=1", "--output_dir=out", "gone.tflite", "y.tflite") == 2
    assert new_files(folder) == {"out/y_k1.tflite": narrowed(small())}
    out, err = capfd.readouterr()
    assert err == "tflm_export: gone.tflite: cannot read gone.tflite: No such file or directory\n"
    assert "gone.tflite  " in out


def test_no_folder_is_left_where_nothing_was_written(folder):
    assert run("--bits=1", "--output_dir=out/put", "--c_source=sources", "models/damaged.tflite") == 1
    assert new_files(folder) == {}


def test_strict_is_each_for_itself(folder):
    assert run("--bits=1", "--strict", "--output_dir=out", "partly.tflite", "y.tflite") == 1
    assert {*new_files(folder)} == {"out/y_k1.tflite"}


@pytest.mark.slow
def test_check(folder, capfd):
    assert run("--bits=1", "--output_dir=out", "x.tflite", "y.tflite") == 0
    before = new_files(folder)
    capfd.readouterr()
    assert run("--check", "--bits=1", "out") == 0
    assert "out/x_k1.tflite" in capfd.readouterr().out
    assert run("--check", "--bits=1", "--report=-", "--jobs=2", "out/x_k1.tflite", "y.tflite") == 1
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert [(model["model"], model["code"], model["error"]) for model in report["models"]] == [
        ("out/x_k1.tflite", 0, ""),
        ("y.tflite", 1, ""),
    ]
    wide = [row["label"] for row in report["models"][1]["report"]["rows"] if not row["narrow"]]
    assert wide == [row.label for row in check(small(), 1).offenders]
    assert f"  {wide[0]}: 31 bits\n" in err
    assert new_files(folder) == before


def test_quiet_says_errors_only(folder, capfd):
    assert run("--bits=1", "--quiet", "--output_dir=out", "models") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tflm_export: models/damaged.tflite: ")
    assert err.count("\n") == 1
    assert run("--bits=1", "--quiet", "--output=one", "x.tflite") == 0
    assert run("--check", "--bits=1", "--quiet", "x.tflite") == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_calibration_rules_and_search_hold_for_each(folder, capfd):
    rows = np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8)
    np.savez("rows.npz", rows)
    (folder / "rules.json").write_text('{"stem": 8}')
    (folder / "other.tflite").write_bytes(residual_network(batch=1, seed=1))
    models = ["x.tflite", "other.tflite"]
    assert run("--bits=1", "--calibration=rows.npz", "--bits_config=rules.json", "--output_dir=out", *models) == 0
    assert "agreement" in capfd.readouterr().out.split("\n\n")[1]
    assert {row.bits for row in check((folder / "out/x_k1.tflite").read_bytes(), 8).rows} == {8}
    assert max(check((folder / "out/other_k1.tflite").read_bytes(), 1).rows, key=lambda row: row.bits_after).index == 0
    assert run("--search", "--max_drop=1", "--calibration=rows.npz", "--output_dir=out", *models, "y.tflite") == 2
    out, err = capfd.readouterr()
    assert out.count("models tried: ") == 2
    assert "tflm_export: y.tflite: input image, INT8 [1, 4, 4, 2] does not take data of shape" in err
    assert {"out/x_searched.tflite", "out/other_searched.tflite"} < {*new_files(folder)}


@pytest.mark.slow
@native.requires_gcc
def test_sources_have_a_folder_of_their_own_for_each_model(folder):
    flags = ["--bits=1", "--output_dir=out", "--c_source=c", "--cc_array=cc"]
    assert run(*flags, "models/b", "x.tflite") == 0
    found = {*new_files(folder)}
    assert {"c/a/a_k1.c", "c/c/UPPER/UPPER_k1.h", "c/x/x_k1.c", "cc/a/a_k1_model_data.h"} <= found
    assert {path.split("/")[0] for path in found} == {"out", "c", "cc"}
    for name, stock, size in (("a", small(), 48), ("x", NETWORK, 5)):
        library = native.library({item.name: item.read_bytes() for item in (folder / "c" / name).glob("*.[ch]")})
        data = narrow(stock, 1)[0]
        row = np.random.default_rng(0).integers(-128, 128, parse(data).subgraphs[0].inputs[0].shape).astype(np.int8)
        output = native.call(f"{name}_k1_invoke", row[0], output_size=size, library=library)
        np.testing.assert_array_equal(output, simulate(data, row, "narrow").outputs[0].ravel())
    (folder / "models/b/a.tfl").write_bytes(small())
    assert run(*flags, "--overwrite", "models/b/a.tflite", "models/b/a.tfl") == 2


def test_a_crash_costs_one_model(folder, capfd, monkeypatch, tmp_path_factory):
    """Such as that of a runtime, here of the C library of the process that works on one of three."""
    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "sitecustomize.py").write_text(
        "import os, signal, tflm_export.files as files\n"
        "real = files.read\n"
        "files.read = lambda path: os.kill(os.getpid(), signal.SIGSEGV) if path == 'x.tflite' else real(path)\n"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{hooks}{os.pathsep}{root}")
    assert run("--bits=1", "--output_dir=out", "y.tflite", "x.tflite", "models/b/a.tflite") == 1
    assert {*new_files(folder)} == {"out/y_k1.tflite", "out/a_k1.tflite"}
    out, err = capfd.readouterr()
    assert "tflm_export: x.tflite: the process that worked on it was ended by SIGSEGV" in err
    assert "x.tflite " in out


@pytest.mark.slow
def test_verify_is_each_for_itself(folder, capfd):
    assert run("--bits=1", "--verify=1", "--output_dir=out", "x.tflite", "y.tflite") == 0
    assert capfd.readouterr().out.count("change from stock to narrowed") == 2


def test_notes_of_each_are_said(folder, capfd):
    """As that synthetic images were not tried, or were; the models differ."""
    assert run("--bits=1", "--output_dir=out", "x.tflite", "y.tflite") == 0
    out = capfd.readouterr().out
    for stock in (NETWORK, small()):
        for note in narrow(stock, 1)[1].notes():
            assert f"  {note}\n" in out
    assert narrow(NETWORK, 1)[1].notes() != []


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr() == (f"tflm_export {tflm_export.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "output_dir", "expected"),
    [
        (["x.tflite"], None, False),
        (["gone"], None, False),
        (["-"], None, False),
        (["x.tflite"], "out", True),
        (["x.tflite", "x.tflite"], None, True),
        (["models"], None, True),
    ],
)
def test_is_asked(folder, arguments, output_dir, expected):
    assert several.is_asked(arguments, output_dir) == expected


def test_the_report_in_the_folder_of_the_models(folder):
    assert run("--bits=1", "--output_dir=out", "--report=out/report.json", "y.tflite") == 0
    assert {*new_files(folder)} == {"out/y_k1.tflite", "out/report.json"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--output_dir=models models", "--output_dir is models itself"),
        ("--output_dir=out/../models/ models", "--output_dir is models itself"),
        ("--output_dir=out --report=out/y_k1.tflite --overwrite y.tflite", "would replace a narrowed model"),
        ("--output_dir=out --report=gone/report.json y.tflite", "there is no directory gone"),
    ],
)
def test_outputs_that_cannot_be(folder, capfd, arguments, words):
    assert run("--bits=1", *arguments.split()) == 2
    assert words in capfd.readouterr().err
    assert new_files(folder) == {}


def test_links_in_a_folder(folder):
    """To files they are followed, to folders not, which may contain themselves."""
    (folder / "models/link.tflite").symlink_to("../y.tflite")
    (folder / "models/b/again").symlink_to("..")
    places = [source.place for source in several.find(["models"], None)]
    assert places == ["a.tflite", "b/a.tflite", "b/c/UPPER.TFLITE", "damaged.tflite", "link.tflite"]


@pytest.mark.parametrize(("codes", "code"), [([0, 0], 0), ([0, 3, 0], 3), ([3, 1, 0], 1), ([1, 3, 2], 2)])
def test_worst(codes, code):
    assert several.worst([several.Outcome("x", number) for number in codes]) == code


def test_require_distinct():
    sources = [Source("a/x", "x"), Source("b/x", "x")]
    several.require_distinct(sources, [outputs.Outputs("1"), outputs.Outputs("2")], None)
    same = [outputs.Outputs(name, source_folder="c/x") for name in "12"]
    with pytest.raises(UsageError, match="a/x and b/x would both be written to c/x"):
        several.require_distinct(sources, same, None)


def test_folders_are_made_and_taken_away(folder):
    wanted = [outputs.Outputs("p/q/r/1"), outputs.Outputs("p/s/2", array_folder="t"), outputs.Outputs("3")]
    with several.folders(wanted):
        for path in ("p/q/r", "p/s", "t"):
            assert (folder / path).is_dir()
        (folder / "p/s/2").write_bytes(b"")
    assert {*new_files(folder)} == {"p/s/2"}


def test_pipes_in_a_folder_are_no_models(tmp_path, capsys):
    """They would be waited for."""
    folder = tmp_path / "models"
    folder.mkdir()
    os.mkfifo(folder / "pipe.tflite")
    (folder / "model.tflite").write_bytes(residual_network(batch=1))
    assert main(["tflm_export", "--bits=1", f"--output_dir={tmp_path / 'out'}", str(folder)]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model_k1.tflite"]
