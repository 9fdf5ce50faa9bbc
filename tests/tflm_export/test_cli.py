# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one line per error, and no file left behind by a failure."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import METHODS, check, narrow
from tflm_export.__main__ import main

NETWORK = residual_network()
ROOT = pathlib.Path(__file__).resolve().parents[2]


def float_model() -> bytes:
    b = TFLiteBuilder()
    x, y = (b.tensor(name, [1, 4], type="FLOAT32") for name in "xy")
    b.operator("ADD", [x, x], [y])
    return b.build(x, y)


def no_operators() -> bytes:
    b = TFLiteBuilder()
    x = b.input([1, 4])
    return b.build(x, x)


def partly() -> bytes:
    """One convolution, and one operator that is not supported, with a line break in its tensor's name."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    return b.build(x, b.unknown(b.conv(x, 3, name="good"), op="CUSTOM:strange", name="first\nsecond"))


FILES = {
    "model.tflite": NETWORK,
    "empty.tflite": b"",
    "cut.tflite": NETWORK[:200],
    "text.tflite": b"version https://git-lfs.github.com/spec/v1\n",
    "keras.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "model.keras": b"PK\x03\x04" + bytes(100),
    "prose.txt": b"Err rude",
    "float.tflite": float_model(),
    "bare.tflite": no_operators(),
    "partly.tflite": partly(),
    "there.tflite": b"precious",
    "noending": NETWORK,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    return tmp_path


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: str) -> int:
    return main(["tflm_export", *arguments])


BAD = [
    # arguments, exit code, what the line names
    ("--bits=4 missing.tflite", 2, "missing.tflite"),
    ("--bits=4 folder", 2, "folder"),
    ("--bits=4 empty.tflite", 1, "empty.tflite: the file is empty"),
    ("--bits=4 cut.tflite", 1, "cut.tflite: the file is damaged or cut short"),
    ("--bits=4 text.tflite", 1, "text.tflite: not a TFLite model, but a Git LFS pointer"),
    ("--bits=4 keras.h5", 1, "keras.h5: not a TFLite model, but an HDF5 file, as Keras writes"),
    ("--bits=4 model.keras", 1, "model.keras: not a TFLite model, but a zip archive"),
    ("--bits=4 prose.txt", 1, "prose.txt: not a TFLite model: bytes 4..8 are b'rude'"),
    ("--bits=4 float.tflite", 1, "float.tflite: the model has no int8 rescale"),
    ("--bits=4 bare.tflite", 1, "bare.tflite: the model has no operators"),
    ("--bits=0 model.tflite", 2, "got 0"),
    ("--bits=32 model.tflite", 2, "got 32"),
    ("--bits=-1 model.tflite", 2, "got -1"),
    ("--bits=x model.tflite", 2, "--bits=x"),
    ("--bits=1.5 model.tflite", 2, "--bits=1.5"),
    ("--bits= model.tflite", 2, "--bits="),
    ("model.tflite", 2, "--bits"),
    ("--bits=4", 2, "MODEL.tflite"),
    ("--bits=4 --output=x model.tflite partly.tflite", 2, "--output_dir names a folder"),
    ("--bits=4 --output=x --output_dir=y model.tflite", 2, "--output_dir names a folder"),
    ("--bits=4 model.tflite model.tflite", 2, "model.tflite and model.tflite would both be written to model_k4.tflite"),
    ("--bits=4 --output_dir=x folder/../model.tflite model.tflite", 2, "would both be written to x/model_k4.tflite"),
    ("--bits=4 --output_dir=there.tflite model.tflite", 2, "cannot make the folder there.tflite: File exists"),
    ("--bits=4 --output_dir=there.tflite/x model.tflite", 2, "cannot make the folder there.tflite: File exists"),
    ("--bits=4 --output_dir=x folder", 2, "there is no .tflite file in folder or below"),
    ("--bits=4 .", 2, "--output_dir names the folder"),
    ("--bits=4 model.tflite -", 2, "- is read alone"),
    ("--bits=4 --jobs=0 --output_dir=x model.tflite", 2, "--jobs must be at least 1, got 0"),
    ("--bits=4 --bits_config=gone --output_dir=x model.tflite", 2, "cannot read gone: No such file"),
    ("--bits=4 --bits_config=/dev/null --output_dir=x model.tflite", 2, "/dev/null can be read only once"),
    ("--explain model.tflite noending", 2, "--explain takes one MODEL.tflite"),
    ("--dump .", 2, "--dump takes one MODEL.tflite"),
    ("--check --bits=1 --output_dir=x model.tflite", 2, "leave out --output_dir"),
    ("--explain --quiet model.tflite", 2, "leave out --quiet"),
    ("--bits=4 --jobs=0 model.tflite", 2, "--jobs must be at least 1, got 0"),
    ("--bits=4 -rf.tflite", 2, "write ./-rf.tflite, or -- before it"),
    ("--bits=4 --c_source=. --core=rp2350 model.tflite", 2, "got 'rp2350': take cortex-m33"),
    ("--bits=4 --c_source=. --core=esp32 model.tflite", 2, "got 'esp32': take portable, which runs on any machine"),
    ("--bits=4 --output=there.tflite model.tflite", 2, "there.tflite exists already; pass --overwrite"),
    ("--bits=4 --output=model.tflite model.tflite", 2, "model.tflite exists already"),
    ("--bits=4 --report=there.tflite model.tflite", 2, "there.tflite exists already"),
    ("--bits=4 --output= model.tflite", 2, "without a name"),
    ("--bits=4 --output=- --report=/dev/stdout model.tflite", 2, "two outputs would be the same file"),
    ("--bits=4 --output=- --cc_array=. model.tflite", 2, "name their files after --output"),
    ("--bits=4 -", 2, "--output is required where the model is read from -"),
    ("--bits=4 /dev/stdin", 2, "--output is required where the model is read from /dev/stdin"),
    ("--bits=4 /dev/null", 2, "--output is required where the model is read from /dev/null"),
    ("--bits=4 --output=folder --overwrite model.tflite", 2, "folder"),
    ("--bits=4 --output=gone/out.tflite model.tflite", 2, "gone"),
    ("--bits=4 --report=gone/report.json model.tflite", 2, "gone"),
    ("--bits=4 --output=same --report=same model.tflite", 2, "same"),
    ("--bits=4 --output=same --report=folder/../same model.tflite", 2, "same"),
    ("--bits=4 --frobnicate model.tflite", 2, "frobnicate"),
    ("--bits=4 --method=truncate model.tflite", 2, "truncate"),
    ("--bits=4 --check --output=out.tflite model.tflite", 2, "--output"),
    ("--check --bits=4 --verify=2 --strict model.tflite", 2, "leave out --strict, --verify"),
    ("--explain --bits=4 model.tflite", 2, "--explain reads the model as it is and writes none; leave out --bits"),
    ("--dump --calibration=data.npz model.tflite", 2, "leave out --calibration"),
    ("--check --dump --bits=4 model.tflite", 2, "--check and --dump exclude each other"),
    ("--bits=4 --core=cortex-m4 model.tflite", 2, "--core means nothing without --c_source"),
    ("--bits=4 --model_name=net model.tflite", 2, "--model_name means nothing without --c_source or --cc_array"),
    ("--bits=4 --c_source=c --model_name=a-b model.tflite", 2, "got 'a-b'; a_b would do"),
    ("--bits=4 --c_source=c --model_name=net model.tflite model.tflite", 2, "--model_name names one model"),
    ("--bits=4 --max_drop=0.1 model.tflite", 2, "--max_drop means nothing without --search"),
    ("--bits=4 --check empty.tflite", 1, "empty.tflite: the file is empty"),
    ("--bits=4 --check float.tflite", 1, "float.tflite"),
    ("--check model.tflite", 2, "--bits"),
    ("--bits=4 --overwrite=perhaps model.tflite", 2, "overwrite"),
]


@pytest.mark.parametrize(("arguments", "code", "names"), BAD, ids=[arguments for arguments, _, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, arguments, code, names):
    before = contents(folder)
    assert run(*arguments.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("tflm_export: ")
    assert names in err
    assert contents(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders on Windows")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pipe", "--output is required where the model is read from pipe"),
        ("--output=pipe --overwrite model.tflite", "cannot write pipe: it is a named pipe; only regular files"),
        ("--report=pipe --overwrite model.tflite", "cannot write pipe: it is a named pipe"),
        (
            "--cc_array=. --output=model --overwrite model.tflite",
            "cannot write ./model_model_data.h: it is a named pipe",
        ),
        ("--c_source=. --output=model --overwrite model.tflite", "cannot write ./narrow_kernels.h: it is a named pipe"),
        ("--check --report=pipe --overwrite model.tflite", "cannot write pipe: it is a named pipe"),
    ],
)
def test_pipes_are_no_place_to_read_beside_or_to_write(folder, capsys, arguments, message):
    pipes = ("pipe", "model_model_data.h", "narrow_kernels.h")
    for pipe in pipes:
        os.mkfifo(pipe)
    before = contents(folder)
    assert run("--bits=4", *arguments.split()) == 2
    assert message in capsys.readouterr().err
    assert contents(folder) == before
    assert all(stat.S_ISFIFO(os.stat(pipe).st_mode) for pipe in pipes)


def same_narrowing(data: bytes, bits: int, method: str = METHODS[0]) -> None:
    """A file has the operators of the narrowed network: factors, weights and biases."""
    expected = peer.operators(narrow(NETWORK, bits, method)[0])
    for mine, theirs in zip(peer.operators(data), expected, strict=True):
        assert (mine.name, mine.rescales) == (theirs.name, theirs.rescales)
        for a, b in zip(mine.inputs, theirs.inputs, strict=True):
            assert (a.name, a.data.tobytes(), a.scale.tobytes()) == (b.name, b.data.tobytes(), b.scale.tobytes())


@pytest.mark.parametrize("bits", [1, 8])
def test_the_default_output_stands_beside_the_model(folder, capsys, bits):
    assert run(f"--bits={bits}", "model.tflite") == 0
    after = contents(folder)
    output = f"model_k{bits}.tflite"
    assert after.keys() - FILES.keys() == {output}
    assert after["model.tflite"] == NETWORK
    same_narrowing(after[output], bits)
    out, err = capsys.readouterr()
    assert err == ""
    assert output in out.splitlines()[-1]
    for row in check(after[output], bits).rows:
        assert any(row.op in line for line in out.splitlines())


def test_the_default_output_of_a_model_without_ending(folder):
    assert run("--bits=2", "noending") == 0
    assert contents(folder).keys() - FILES.keys() == {"noending_k2.tflite"}


def test_a_model_whose_name_starts_as_flags_do(folder):
    (folder / "-rf.tflite").write_bytes(NETWORK)
    assert run("--bits=2", "--", "-rf.tflite") == 0
    assert run("--bits=1", "./-rf.tflite") == 0
    assert contents(folder).keys() - FILES.keys() == {"-rf.tflite", "-rf_k2.tflite", "-rf_k1.tflite"}


def test_the_default_output_follows_the_model_into_its_folder(folder):
    (folder / "folder" / "m.v1.tflite").write_bytes(NETWORK)
    assert run("--bits=2", "folder/m.v1.tflite") == 0
    assert "folder/m.v1_k2.tflite" in contents(folder)


@pytest.mark.parametrize("method", METHODS)
def test_output_method_and_flags_in_any_place(folder, method):
    assert run("model.tflite", "--bits", "3", "--method", method, "--output", "out.tflite") == 0
    same_narrowing((folder / "out.tflite").read_bytes(), 3, method)


def test_overwrite(folder):
    assert run("--bits=4", "--overwrite", "--output=there.tflite", "model.tflite") == 0
    same_narrowing((folder / "there.tflite").read_bytes(), 4)
    assert run("--bits=4", "--overwrite", "--output=model.tflite", "model.tflite") == 0
    same_narrowing((folder / "model.tflite").read_bytes(), 4)


def test_flags_do_not_stick_from_one_call_to_the_next(folder, capsys):
    assert run("--bits=4", "--check", "--report=a.json", "model.tflite") == 1
    assert run("model.tflite") == 2
    assert run("--bits=2", "model.tflite") == 0
    assert contents(folder).keys() - FILES.keys() == {"a.json", "model_k2.tflite"}


def test_report(folder):
    assert run("--bits=3", "--report=report.json", "partly.tflite") == 0
    report = json.loads((folder / "report.json").read_text())
    assert (report["bits"], report["method"]) == (3, "requantize")
    assert report["max_bits"] <= 3
    good, bad = report["rows"]
    assert (good["op"], good["index"], good["factors"], good["reason"]) == ("CONV_2D", 0, 3, "")
    assert (good["narrow"], good["bits_before"], good["fits_int32"]) == (True, 31, True)
    assert good["bits_after"] <= 3
    assert (bad["op"], bad["narrow"], bad["bits_after"]) == ("CUSTOM:strange", False, None)
    assert bad["reason"] == "CUSTOM:strange is not supported yet"


def test_check_passes_and_names_offenders(folder, capsys):
    assert run("--bits=2", "--output=out.tflite", "model.tflite") == 0
    capsys.readouterr()
    for bits in (2, 3, 31):
        assert run(f"--bits={bits}", "--check", "out.tflite") == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
    assert run("--bits=1", "--check", "--report=check.json", "out.tflite") == 1
    out, err = capsys.readouterr()
    assert err == ""
    wide = {o.outputs[0].name for o in peer.operators((folder / "out.tflite").read_bytes())
            if o.rescales and max(peer.off_grid(f, 1) for f in o.factors) > 2.0**-21}  # fmt: skip
    assert wide
    *lines, summary = out.splitlines()
    assert {line.split("(")[1].split(")")[0] for line in lines} == wide
    assert all(line.endswith(": 2 bits") for line in lines)
    assert f"{len(wide)} not" in summary
    report = json.loads((folder / "check.json").read_text())
    assert {row["label"] for row in report["rows"] if not row["narrow"]} == {line.rsplit(":", 1)[0] for line in lines}


def test_check_writes_no_model(folder, capsys):
    before = contents(folder)
    assert run("--bits=2", "--check", "model.tflite") == 1
    assert contents(folder) == before


def test_what_is_not_narrowed_is_said(folder, capsys):
    assert run("--bits=4", "partly.tflite") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "not narrowed: CUSTOM:strange is not supported yet" in out
    assert "1 of 2 operators" in out
    assert run("--bits=4", "--check", "partly_k4.tflite") == 1
    assert "CUSTOM:strange is not supported yet" in capsys.readouterr().out


def test_c_of_a_model_without_anything_to_narrow(folder, capsys):
    """Its file and its program are written as it is; without --c_source there is nothing to do."""
    b = TFLiteBuilder()
    x = b.input([1, 8])
    y = b.tensor("shares", [1, 8], scale=1 / 256, zero_point=-128)
    b.operator("SOFTMAX", [x], [y], 1, beta=1.0)
    data = b.build(x, y)
    (folder / "softmax.tflite").write_bytes(data)
    assert run("--bits=1", "--c_source=c", "--report=report.json", "softmax.tflite") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "note: the model has no int8 rescale (its operators compute INT8); written as it is" in out
    assert (folder / "softmax_k1.tflite").read_bytes() == data
    assert json.loads((folder / "report.json").read_text())["rows"] == []
    assert b"softmax_k1_invoke" in (folder / "c" / "softmax_k1.c").read_bytes()
    assert run("--bits=1", "--overwrite", "softmax.tflite") == 1


@pytest.mark.parametrize("flag", ["--help", "-h", "--nohelp --help"])
def test_help(folder, capsys, flag):
    assert run(*flag.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("--bits", "--method", "--output", "--report", "--check", "--overwrite", "MODEL.tflite", "exit codes"):
        assert word.lstrip("-") in out
    assert "__main__.py" not in out
    assert max(map(len, out.splitlines())) <= 120


def no_hard_links(*args, **kwargs):
    raise PermissionError(1, "Operation not permitted")  # as FAT answers


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(folder, capsys, monkeypatch, function):
    before, real, calls = contents(folder), getattr(os, function), []
    monkeypatch.setattr(os, "link", no_hard_links)

    def fail_at_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(os, function, fail_at_the_second)
    assert run("--bits=4", "--report=report.json", "model.tflite") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "No space left on device" in err
    assert contents(folder) == before


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def program(*arguments: str, code: str | None = None, **environment) -> subprocess.CompletedProcess:
    start = ["-m", "tflm_export"] if code is None else ["-c", code]
    environment = ENVIRONMENT | environment
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, env=environment)


def piped(*arguments: str, stdin: bytes = b"", **streams) -> subprocess.CompletedProcess:
    """The program with bytes for standard input and output."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-m", "tflm_export", *arguments], input=stdin, env=ENVIRONMENT, **streams)


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    "arguments", ["--bits 2 --output - -", "- --bits 2 --output -", "--bits 2 --output /dev/stdout /dev/stdin"]
)
def test_from_standard_input_to_standard_output(folder, arguments):
    before = contents(folder)
    done = piped(*arguments.split(), stdin=NETWORK)
    assert done.returncode == 0
    same_narrowing(done.stdout, 2)
    assert b"13 of 13 operators" in done.stderr
    assert contents(folder) == before


@pytest.mark.slow
def test_all_messages_go_to_standard_error_where_the_model_goes_to_standard_output(folder):
    (folder / "single.tflite").write_bytes(residual_network(batch=1))
    np.savez("data.npz", x=np.random.default_rng(0).integers(-128, 128, (8, 8, 8, 3), np.int8))
    flags = ["--search", "--max_drop=1", "--calibration=data.npz", "--verify=1", "single.tflite"]
    to_file, to_pipe = (piped(f"--output={output}", *flags) for output in ("a", "-"))
    assert to_file.returncode == to_pipe.returncode == 0
    assert to_pipe.stdout == (folder / "a").read_bytes()
    messages = to_file.stdout.replace(b"a: ", b"-: ").splitlines()
    assert len(messages) > 20
    assert [line for line in to_pipe.stderr.splitlines() if line in messages] == messages  # runtimes have their own


def test_the_report_on_standard_output(folder):
    done = piped("--bits=2", "--check", "--report=-", "-", stdin=NETWORK)
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["rows"]) == 13
    assert b"13 not" in done.stderr


@pytest.mark.sweep(3)
@pytest.mark.parametrize("mode", ["--explain", "--check --bits=1", "--dump"])
def test_standard_input_in_the_modes_that_write_no_model(folder, capsys, mode):
    (folder / "k1.tflite").write_bytes(piped("--bits=1", "--output=-", "model.tflite").stdout)
    done = piped(*mode.split(), "-", stdin=(folder / "k1.tflite").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.replace(b"-: ", b"k1.tflite: ") == piped(*mode.split(), "k1.tflite").stdout


@pytest.mark.sweep(3)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("output", ["-", "out.tflite"])
def test_standard_output_that_takes_nothing(folder, output):
    with open("/dev/full", "wb") as full:
        done = piped("--bits=2", f"--output={output}", "--report=report.json", "model.tflite", stdout=full)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].endswith("No space left on device")
    assert b"Traceback" not in done.stderr
    assert (folder / "report.json").exists() == (output != "-")  # with the model, or not at all


def test_a_reader_of_the_model_that_leaves_is_no_success(folder):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = piped("--bits=2", "--output=-", "model.tflite", stdout=pipe)
    assert (done.returncode, done.stderr) == (2, b"tflm_export: cannot write -: Broken pipe\n")


@pytest.mark.parametrize("arguments", ["--output=theirs", "--report=theirs", "--check --report=theirs"])
def test_a_file_that_appears_during_the_run_stays(folder, capsys, monkeypatch, arguments):
    before, real = contents(folder), os.fsync

    def another_run_is_faster(handle):
        (folder / "theirs").write_bytes(b"precious")
        real(handle)

    monkeypatch.setattr(os, "fsync", another_run_is_faster)
    assert run("--bits=2", *arguments.split(), "model.tflite") == 2
    assert "theirs exists already; pass --overwrite" in capsys.readouterr().err
    assert contents(folder) == before | {"theirs": b"precious"}


@pytest.mark.slow
def test_as_a_program(folder):
    done = program("--bits=1", "model.tflite")
    assert (done.returncode, done.stderr) == (0, "")
    same_narrowing((folder / "model_k1.tflite").read_bytes(), 1)
    assert program("--bits=1", "--check", "model_k1.tflite").returncode == 0
    assert program("--bits=1", "--check", "model.tflite").returncode == 1


@pytest.mark.sweep(3)
@pytest.mark.parametrize(("arguments", "code"), [("--bits=4 empty.tflite", 1), ("--bits=99 model.tflite", 2)])
def test_errors_as_a_program(folder, arguments, code):
    done = program(*arguments.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


def test_names_the_terminal_cannot_show(folder):
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    y = b.unknown(b.conv(x, 3), op="CUSTOM:größe")
    (folder / "names.tflite").write_bytes(b.build(x, y))
    done = program("--bits=4", "names.tflite", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")


def _loaded(*args: str) -> set[str]:
    """The modules that a run of the command line has loaded at its end."""
    code = (
        "import sys; from tflm_export.__main__ import main; code = main(['tflm_export', *sys.argv[1:]]); "
        "print(*sys.modules); sys.exit(code)"
    )
    done = program(*args, code=code)
    assert (done.returncode, done.stderr) == (0, "")
    return {*done.stdout.splitlines()[-1].split()}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("args", [("--help",), ("--bits=4", "--report=r.json", "model.tflite")], ids=["help", "narrow"])
def test_neither_tensorflow_nor_what_nobody_asked_for_is_imported(folder, args):
    loaded = _loaded(*args)
    assert "tflm_export.narrow" in loaded
    heavy = set("tensorflow keras tf_keras tensorflow_model_optimization tflite_micro ai_edge_litert pyosys".split())
    assert heavy & {name.partition(".")[0] for name in loaded} == set()
    assert {name for name in loaded if name.startswith("tflm_export.rtl")} == set()


def test_the_hardware_is_imported_with_rtl(folder):
    assert "tflm_export.rtl.hardware" in _loaded("--bits=4", "--rtl=rtl", "model.tflite")
