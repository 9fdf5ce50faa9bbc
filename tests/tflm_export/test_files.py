# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, all of them or none."""

import contextlib
import os
import re
import socket
import stat
import subprocess
import sys
import time
import unittest.mock
from types import SimpleNamespace

import pytest

from tflm_export import UsageError, files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_write_and_read(folder):
    files.write({"a": b"one", str(folder / "b"): b""})
    assert contents(folder) == {"a": b"one", "b": b""}
    assert files.read("a") == b"one"


def test_nothing_to_write(folder):
    files.write({})
    assert contents(folder) == {}


def test_existing_files_are_replaced(folder):
    (folder / "a").write_bytes(b"old and longer")
    files.write({"a": b"new"})
    assert contents(folder) == {"a": b"new"}


@pytest.mark.skipif(sys.platform == "win32", reason="no umask on Windows")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(folder, mask):
    before = os.umask(mask)
    try:
        files.write({"a": b""})
        assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def fail_at_call(monkeypatch, function, number):
    """Makes one call of a function of `os` fail as a full disk does."""
    real, calls = getattr(os, function), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, call)
    return calls


@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "existing"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
def test_a_failure_at_any_file_leaves_all_as_they_were(folder, monkeypatch, function, number, old):
    if old is not None:
        for name in ("a", "b"):
            (folder / name).write_bytes(old)
    before = contents(folder)
    calls = fail_at_call(monkeypatch, function, number)
    with pytest.raises(UsageError, match=r"cannot write .*: No space left on device"):
        files.write({"a": b"first", "b": b"second"})
    assert len(calls) >= number
    assert contents(folder) == before


def test_a_missing_folder_at_the_second_file(folder):
    with pytest.raises(UsageError, match=r"cannot write missing.b: there is no directory missing"):
        files.write({"a": b"first", os.path.join("missing", "b"): b"second"})
    assert contents(folder) == {}


@pytest.mark.parametrize("number", [1, 2])
def test_an_interruption_leaves_nothing(folder, monkeypatch, number):
    real, calls = os.fsync, []

    def interrupt(handle):
        calls.append(handle)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(handle)

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write({"a": b"first", "b": b"second"})
    assert contents(folder) == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [("missing", "cannot read missing: No such file"), (".", "cannot read .: Is a directory"), ("", "cannot read ")],
)
def test_unreadable(folder, path, message):
    with pytest.raises(UsageError, match=message):
        files.read(path)


def test_require_writable(folder):
    (folder / "there").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("there")
    for overwrite in (False, True):
        files.require_writable("new", overwrite)
        with pytest.raises(UsageError, match="there is no directory missing"):
            files.require_writable(os.path.join("missing", "a"), overwrite)
        with pytest.raises(UsageError, match="folder: it is a directory"):
            files.require_writable("folder", overwrite)
    for name in ("there", "link"):
        with pytest.raises(UsageError, match=f"{name} exists already; pass --overwrite"):
            files.require_writable(name, overwrite=False)
        files.require_writable(name, overwrite=True)
    assert contents(folder) == {"there": b"", "link": b""}


@pytest.fixture
def special(folder):
    """Names of what is no regular file."""
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    (folder / "to_pipe").symlink_to("pipe")
    (folder / "to_device").symlink_to("device")
    with contextlib.suppress(PermissionError):  # only root may; and only root could do harm to those of the machine
        os.mknod("device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="no such files on Windows")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("folder", "a directory"),
        ("pipe", "a named pipe"),
        ("to_pipe", "a named pipe"),
        ("socket", "a socket"),
        ("device", "a character device"),
        ("to_device", "a character device"),
        ("dangling", "a link to nowhere, where there is no file; name that file itself, or remove the link"),
        ("loop", "a link to loop, where there is no file"),
    ],
)
def test_only_regular_files_are_replaced(special, name, kind, overwrite):
    if "device" in name and not os.path.exists("device"):
        pytest.skip("no right to make a device")

    def found():  # without the time of reading, which reading a link changes
        return {path: [*os.lstat(path)[:7], *os.lstat(path)[8:]] for path in os.listdir()}

    before = found()
    for attempt in (lambda: files.require_writable(name, overwrite), lambda: files.write({name: b"new"}, overwrite)):
        with pytest.raises(UsageError, match=re.escape(f"cannot write {name}: it is {kind}")):
            attempt()
    assert found() == before


def test_links_are_followed_and_stay(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "file").write_bytes(b"old")
    (folder / "link").symlink_to("second")
    (folder / "second").symlink_to(os.path.join("elsewhere", "file"))
    with pytest.raises(UsageError, match="link exists already"):
        files.write({"link": b"new"}, overwrite=False)
    assert (folder / "elsewhere" / "file").read_bytes() == b"old"
    files.write({"link": b"new"})
    assert (folder / "elsewhere" / "file").read_bytes() == b"new"
    assert [os.readlink(name) for name in ("link", "second")] == ["second", os.path.join("elsewhere", "file")]
    assert os.listdir("elsewhere") == ["file"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_without_overwrite_files_that_exist_stay(folder, monkeypatch, links):
    if not links:
        no_hard_links(monkeypatch)
    files.write({"b": b"old"}, overwrite=False)
    with pytest.raises(UsageError, match="b exists already; pass --overwrite"):
        files.write({"a": b"new", "b": b"new"}, overwrite=False)
    assert contents(folder) == {"b": b"old"}


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_appears_after_the_check_stays(folder, monkeypatch, links):
    if not links:
        no_hard_links(monkeypatch)
    real, calls = os.fsync, []

    def another_process_is_faster(handle):
        calls.append(handle)
        if len(calls) == 2:
            (folder / "b").write_bytes(b"theirs")
        real(handle)

    monkeypatch.setattr(os, "fsync", another_process_is_faster)
    with pytest.raises(UsageError, match="b exists already; pass --overwrite"):
        files.write({"a": b"first", "b": b"second"}, overwrite=False)
    assert contents(folder) == {"b": b"theirs"}


def no_hard_links(monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")  # as FAT answers

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_without_hard_links_leaves_nothing(folder, monkeypatch, number):
    no_hard_links(monkeypatch)
    fail_at_call(monkeypatch, "replace", number)
    with pytest.raises(UsageError, match="No space left on device"):
        files.write({"a": b"first", "b": b"second"}, overwrite=False)
    assert contents(folder) == {}


def test_standard_output_is_written_last(folder, capfdbinary, monkeypatch):
    files.write({"-": b"\x00model\xff", "a": b"file"})
    assert capfdbinary.readouterr().out == b"\x00model\xff"
    assert contents(folder) == {"a": b"file"}
    full = SimpleNamespace(write=unittest.mock.Mock(side_effect=OSError(28, "No space left on device")))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=full))
    with pytest.raises(UsageError, match="cannot write -: No space left on device"):
        files.write({"-": b"model", "a": b"new", "b": b"new"})
    assert contents(folder) == {"a": b"file"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such files on Windows")
def test_streams(special):
    (special / "file").write_bytes(b"")
    (special / "link").symlink_to("file")
    assert {name for name in os.listdir() if files.is_stream(name)} - {"device", "to_device"} == {
        "pipe",
        "to_pipe",
        "socket",
    }
    assert all(map(files.is_stream, ("-", "/dev/stdin", "/dev/null", "/dev/fd/0")))
    assert not files.is_stream("missing")


LOOP = """
import sys
from tflm_export import files
path, letter = sys.argv[1], sys.argv[2].encode()
print("started", flush=True)
for _ in range(int(sys.argv[3])):
    files.write({path: letter * (1 << 20)})
"""


def start(path, letter, count):
    command = [sys.executable, "-c", LOOP, str(path), letter, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    return process


RACE = """
import sys
from tflm_export import UsageError, files
letter, *names = sys.argv[1:]
print("started", flush=True)
sys.stdin.read()
try:
    files.write(dict.fromkeys(names, letter.encode() * (1 << 20)), overwrite=False)
except UsageError as error:
    sys.exit(str(error))
"""


@pytest.mark.sweep(3)
@pytest.mark.parametrize("attempt", range(3))
def test_of_several_writers_of_new_files_one_succeeds(folder, attempt):
    """Whatever the order in which they name them; and it gets all of them."""
    orders = [("x", "y", "z"), ("z", "y", "x"), ("y", "z", "x"), ("y", "x", "z")]
    writers = {
        letter: subprocess.Popen(
            [sys.executable, "-c", RACE, letter, *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for letter, order in zip("abcd", orders, strict=True)
    }
    for writer in writers.values():
        assert writer.stdout.readline() == "started\n"
    for writer in writers.values():
        writer.stdin.close()
        writer.stdin = None
    errors = {letter: writer.communicate()[1] for letter, writer in writers.items()}
    (winner,) = [letter for letter, writer in writers.items() if writer.returncode == 0]
    assert all(" exists already" in error for letter, error in errors.items() if letter != winner)
    assert contents(folder) == dict.fromkeys("xyz", winner.encode() * (1 << 20))


def assert_whole(path):
    content = path.read_bytes()
    assert content in (b"a" * (1 << 20), b"b" * (1 << 20)), (len(content), set(content))


def test_two_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"a" * (1 << 20))
    writers = [start(path, letter, 40) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        assert_whole(path)
    assert_whole(path)
    for writer in writers:
        assert writer.returncode == 0
        writer.stdout.close()


@pytest.mark.sweep(3)
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1])
def test_a_writer_that_is_killed_leaves_no_half_file(tmp_path, delay):
    path = tmp_path / "out"
    path.write_bytes(b"b" * (1 << 20))
    writer = start(path, "a", 1000)
    time.sleep(delay)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert_whole(path)
    # What a killed process could not clean up has another name.
    assert all(left.name.startswith(".out.") for left in tmp_path.iterdir() if left != path)
