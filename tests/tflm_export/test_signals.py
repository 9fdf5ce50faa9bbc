# SPDX-License-Identifier: Apache-2.0
"""Signals stop the program wherever it is, with its own exit status and nothing left behind."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import pytest

from tests.helpers.command import ROOT, start
from tests.helpers.sweeps import sampled
from tests.helpers.tflite_builder import residual_network
from tflm_export import files, signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
FLAGS = ("--bits=1", "--report=report.json", "--cc_array=.", "model.tflite")
OUTPUTS = {"model_k1.tflite", "report.json", "model_k1_model_data.h", "model_k1_model_data.cc"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.tflite").write_bytes(residual_network(batch=1))
    return tmp_path


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def killed_in(number: int, function: str, call: int, when: str) -> str:
    """Python that sends the process a signal before or after a call of a function that writing files uses."""
    return f"""
import os, tempfile
real, calls = {function}, []
def stopping(*args, **kwargs):
    calls.append(args)
    if len(calls) == {call} and {when!r} == "before":
        os.kill(os.getpid(), {int(number)})
    result = real(*args, **kwargs)
    if len(calls) == {call} and {when!r} == "after":
        os.kill(os.getpid(), {int(number)})
    return result
{function} = stopping
"""


@pytest.mark.sweep(3)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("number", "function", "call"),
    [
        (signal.SIGTERM, "tempfile.mkstemp", 1),
        (signal.SIGINT, "tempfile.mkstemp", 2),
        (signal.SIGTERM, "os.fsync", 1),
        (signal.SIGINT, "os.fsync", 3),
        (signal.SIGHUP, "os.fsync", 2),
        (signal.SIGTERM, "os.link", 1),
        (signal.SIGTERM, "os.link", 3),
        (signal.SIGTERM, "os.remove", 1),
        (signal.SIGINT, "os.remove", 2),
    ],
)
def test_stopped_while_files_are_written(folder, number, function, call, when):
    """All of them are there, or none, and no temporary one."""
    with start(*FLAGS, before=killed_in(number, function, call, when), stderr=subprocess.PIPE) as process:
        assert process.communicate()[1] == b""
    assert process.returncode == -number
    there = names(folder) - {"model.tflite"}
    assert there in (set(), OUTPUTS)
    assert (there == set()) == (function in ("tempfile.mkstemp", "os.fsync"))


def stop(process: subprocess.Popen, number: int) -> None:
    """As a person would: a signal that comes just before a process begins to wait is heeded at the next one only."""
    while process.poll() is None:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)


LOSING = """
import os
real = os.fsync
def losing(handle):
    try:
        os.kill(os.getpid(), {number})
    finally:
        {ending}
    real(handle)
os.fsync = losing
"""


@pytest.mark.sweep(3)
@pytest.mark.parametrize("ending", ["raise AssertionError", "os.does_not_exist"])
@pytest.mark.parametrize("number", STOPPING)
def test_what_cleaning_up_raises_says_nothing(folder, number, ending):
    """Libraries that are stopped in the middle may raise errors of their own in place of ours."""
    with start(*FLAGS, before=LOSING.format(number=int(number), ending=ending), stderr=subprocess.PIPE) as process:
        assert process.communicate()[1] == b""
    assert process.returncode == -number
    assert names(folder) == {"model.tflite"}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("number", STOPPING)
def test_stopped_while_it_waits_to_write(folder, number):
    """Into a pipe that nobody reads: there it can be stopped, too, and takes back what it has put in place."""
    reader, writer = os.pipe()
    capacity = 1 << 16
    os.set_blocking(writer, False)
    written = os.write(writer, bytes(capacity))
    os.set_blocking(writer, True)
    assert written == capacity
    before = "import sys; sys.stdout.flush = lambda: None"
    with start(
        "--bits=1", "--output=-", "--report=report.json", "model.tflite", stdout=writer, before=before
    ) as process:
        os.close(writer)
        while not (folder / "report.json").exists():  # put in place just before
            assert process.poll() is None
            time.sleep(0.01)
        stop(process, number)
    os.close(reader)
    assert process.returncode == -number
    assert names(folder) == {"model.tflite"}


def test_signals_that_are_ignored_stay_so(folder):
    """As under nohup."""
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + killed_in(
        signal.SIGHUP, "os.fsync", 1, "before"
    )
    with start(*FLAGS, before=before) as process:
        pass
    assert process.returncode == 0
    assert names(folder) == OUTPUTS | {"model.tflite"}


WAITING = """
import contextlib, os

real = os.fsync

def waiting(handle):
    with contextlib.suppress({suppressed}):
        open("pipe", "rb").read()
    open("pipe", "rb").read()
    real(handle)

os.fsync = waiting
"""


def opened(pipe: str, process: subprocess.Popen) -> int:
    """The end to write to of a pipe, as soon as a process reads from it."""
    while True:
        assert process.poll() is None
        with contextlib.suppress(OSError):  # nobody reads yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("suppressed", ["", "KeyboardInterrupt"])
@pytest.mark.parametrize("number", sampled(STOPPING, 2))
def test_workers_are_stopped_and_clean_up(folder, number, suppressed):
    """Those that it started end before the program does, without their files and folders, although one signal had no
    effect on them."""
    os.mkfifo("pipe")
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(WAITING.format(suppressed=suppressed))
    shutil.copy("model.tflite", "other.tflite")
    before = names(folder)
    arguments = ("--bits=1", "--jobs=2", "--output_dir=out/put", "model.tflite", "other.tflite")
    path = f"{hooks}{os.pathsep}{ROOT}"
    with start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, PYTHONPATH=path) as process:
        end = opened("pipe", process)  # one of them has a temporary file and waits
        process.send_signal(number)
        assert process.communicate() == (b"", b"")
        os.close(end)
    assert process.returncode == -number
    assert names(folder) == before


@pytest.fixture
def came():
    """The signals that a handler got."""
    found = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


def test_held_signals_come_at_the_end(came):
    with signals.held() as released:
        signal.raise_signal(signal.SIGTERM)
        assert came == []
        with released():
            assert came == [signal.SIGTERM]
            signal.raise_signal(signal.SIGTERM)
            assert came == [signal.SIGTERM] * 2
        with signals.held():
            signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM] * 2
    assert came == [signal.SIGTERM] * 3
    signal.raise_signal(signal.SIGTERM)
    assert len(came) == 4


def test_held_signals_come_after_an_error(came):

    def stopping():
        with signals.held():
            signal.raise_signal(signal.SIGTERM)
            raise KeyError

    with pytest.raises(KeyError):
        stopping()
    assert came == [signal.SIGTERM]


def test_what_a_handler_raises_leaves_the_handlers_as_they_were():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
    try:
        with pytest.raises(KeyboardInterrupt), signals.held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_files_are_written_in_threads(folder):
    """In which there are no handlers to hold."""
    thread = threading.Thread(target=files.write, args=({"a": b"content"},))
    thread.start()
    thread.join()
    assert (folder / "a").read_bytes() == b"content"
