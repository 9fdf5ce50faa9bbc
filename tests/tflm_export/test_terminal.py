# SPDX-License-Identifier: Apache-2.0
"""What reaches a terminal: names that cannot move its cursor, and streams that are closed, full or left."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.command import FULL, ROOT, command, environment, start
from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import metadata, narrow
from tflm_export.terminal import Messages, visible

HOSTILE = "\x1b[2J\x07red\rgone\nmodel.tflite: 9 of 9\x9b1m\u202e\x7f"
SEEN = r"\x1b[2J\x07red\rgone\nmodel.tflite: 9 of 9\x9b1m\u202e\x7f"


@pytest.mark.parametrize(
    ("text", "seen"),
    [("", ""), ("größe ☃ 1", "größe ☃ 1"), (HOSTILE, SEEN), ("\udcff", r"\udcff"), ("a\u2028b\t\0", r"a\u2028b\t\x00")],
)
def test_visible(text, seen):
    assert visible(text) == seen
    assert visible(seen) == seen


def hostile_model(is_supported: bool) -> bytes:
    """Names of tensors and operators that want to do something to the terminal."""
    b = TFLiteBuilder()
    x = b.tensor(f"in{HOSTILE}", [1, 4, 4, 2], scale=0.05, zero_point=3)
    y = b.conv(x, 3, name=f"y{HOSTILE}")
    return b.build(x, y if is_supported else b.unknown(y, op=f"CUSTOM:op{HOSTILE}", name=f"z{HOSTILE}"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = hostile_model(is_supported=False)
    narrowed, report = narrow(hostile_model(is_supported=True), 1)
    (tmp_path / "model.tflite").write_bytes(data)
    (tmp_path / f"{HOSTILE}.tflite").write_bytes(data)
    (tmp_path / "k1.tflite").write_bytes(metadata.attach(narrowed, report))
    (tmp_path / f"bad{HOSTILE}.tflite").write_bytes(b"no model at all")
    np.savez("rows.npz", np.zeros((4, 4, 4, 2), np.float32), b=np.zeros(1))
    return tmp_path


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--bits=1", "model.tflite"], 0),
        (["--bits=1", "--strict", "model.tflite"], 1),
        (["--bits=1", "--verify=1", "--output=k2.tflite", "k1.tflite"], 0),
        (["--bits=1", "--calibration=rows.npz", "model.tflite"], 2),
        (["--bits=1", f"--calibration=gone{HOSTILE}", "model.tflite"], 2),
        (["--bits=1", f"--output=gone/{HOSTILE}", "model.tflite"], 2),
        (["--bits=1", f"--method={HOSTILE}", "model.tflite"], 2),
        (["--bits=1", f"--{HOSTILE}", "model.tflite"], 2),
        (["--bits=1", f"{HOSTILE}.tflite"], 0),
        (["--bits=1", f"bad{HOSTILE}.tflite"], 1),
        (["--bits=1", "--output_dir=out", "."], 1),
        (["--check", "--bits=1", "model.tflite"], 1),
        (["--check", "--bits=1", f"{HOSTILE}.tflite", "k1.tflite"], 1),
        (["--explain", "model.tflite"], 0),
        (["--dump", "k1.tflite"], 0),
        (["--dump", "model.tflite"], 1),
    ],
    ids=lambda value: " ".join(value).replace(HOSTILE, "..") if isinstance(value, list) else "",
)
def test_no_name_reaches_the_terminal_as_it_is(folder, arguments, code):
    done = subprocess.run(command(*arguments), capture_output=True, env=environment(), check=False)
    assert done.returncode == code, done.stderr
    if "--verify=1" in arguments:  # the runtimes write to standard error themselves
        done.stderr = b""
    for text in (done.stdout.decode(), done.stderr.decode()):
        lines = text.split("\n")
        assert [line for line in lines if line.startswith(("gone", "model.tflite: 9 of 9"))] == []
        assert {c for line in lines for c in line if not c.isprintable()} == set(), text


def test_messages_stop_at_the_first_error():
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    messages = Messages(Full())
    messages.say("one", "two\n")
    messages.say("three")
    assert messages.stream.getvalue() == "one\ntwo\\n\n"
    assert messages.is_lost


def test_a_reader_that_left_loses_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        messages = Messages(stream)
        messages.say("one")
        assert isinstance(messages.problem, BrokenPipeError)
        assert not messages.is_lost
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def run(arguments: str, redirection: str) -> tuple[int, str]:
    """The exit code and standard error of the program in a shell that redirects its streams."""
    line = f"{sys.executable} -m tflm_export {arguments} {redirection}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment(), check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stdout + done.stderr
    return done.returncode, done.stderr


ALL_SAY = ("--bits=1 model.tflite", "--check --bits=31 k1.tflite", "--explain model.tflite", "--dump k1.tflite",
           "--help", "--version", "--bits=1 --output_dir=out model.tflite k1.tflite")  # fmt: skip


@pytest.mark.sweep(3)
@pytest.mark.parametrize("arguments", ALL_SAY)
def test_closed_standard_output(folder, arguments):
    code, said = run(arguments, ">&-")
    assert (code, said) == (2, "tflm_export: cannot write to standard output: Bad file descriptor\n")


@pytest.mark.sweep(3)
@pytest.mark.skipif(not os.path.exists(FULL), reason=f"no {FULL}")
@pytest.mark.parametrize("arguments", ALL_SAY[:2])
def test_full_standard_output(folder, arguments):
    code, said = run(arguments, f">{FULL}")
    assert (code, said) == (2, "tflm_export: cannot write to standard output: No space left on device\n")


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("arguments", "code"), [*((arguments, 0) for arguments in ALL_SAY[:3]), ("--check --bits=1 model.tflite", 1)]
)
def test_a_reader_that_leaves_changes_no_code(folder, arguments, code):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            command(*arguments.split()), stdout=pipe, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.sweep(3)
@pytest.mark.parametrize("redirection", [f"2>{FULL}", "2>&- >&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("--bits=1 missing", 2), ("--bits=1 bad*.tflite", 1), ("--bits=1 --output_dir=out bad*.tflite k1.tflite", 1)],
)
def test_standard_error_that_takes_nothing_changes_no_code(folder, redirection, arguments, code):
    if FULL in redirection and not os.path.exists(FULL):
        pytest.skip(f"no {FULL}")
    lost = ">&-" in redirection.replace("2>&-", "") and "output_dir" in arguments  # its table
    assert run(arguments, redirection)[0] == (2 if lost else code)


def test_messages_on_a_standard_error_that_takes_nothing(folder):
    """There, as the model goes to standard output: the model is all there, and the code says that they are lost."""
    code, _ = run("--bits=1 --output=- model.tflite >out", "2>&-")
    assert code == 2
    run("--bits=1 --output=direct model.tflite", "")
    assert (folder / "out").read_bytes() == (folder / "direct").read_bytes()


def test_closed_streams_are_not_the_files_that_are_opened_next(folder):
    """Whose content messages would be written into."""
    code, _ = run("--bits=1 --report=report.json model.tflite", "<&- >&- 2>&-")
    assert code == 2
    run("--bits=1 --report=report2.json --output=direct model.tflite", "")
    assert (folder / "model_k1.tflite").read_bytes() == (folder / "direct").read_bytes()
    assert (folder / "report.json").read_bytes() == (folder / "report2.json").read_bytes()


def test_closed_standard_input(folder):
    assert run("--explain -", "<&-") == (2, "tflm_export: cannot read -: Bad file descriptor\n")


def test_quiet_says_nothing_that_could_be_lost(folder):
    assert run("--quiet --bits=1 model.tflite", ">&-") == (0, "")
    with start("--quiet", "--bits=1", "missing", stderr=subprocess.PIPE) as process:
        assert process.communicate()[1].startswith(b"tflm_export: cannot read missing")


def test_the_root_of_the_checkout_is_what_runs():
    done = subprocess.run(
        [sys.executable, "-c", "import tflm_export; print(tflm_export.__file__)"],
        capture_output=True, text=True, env=environment(), check=True, cwd="/",
    )  # fmt: skip
    assert done.stdout.strip() == str(ROOT / "tflm_export" / "__init__.py")
