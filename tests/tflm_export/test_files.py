"""Files appear whole or not at all, all of them or none."""

import os
import stat
import subprocess
import sys
import time

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
    with pytest.raises(UsageError, match=r"cannot write .*missing.*b.*: No such file or directory"):
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
    (folder / "dangling").symlink_to("nowhere")
    for overwrite in (False, True):
        files.require_writable("new", overwrite)
        with pytest.raises(UsageError, match="there is no directory missing"):
            files.require_writable(os.path.join("missing", "a"), overwrite)
        with pytest.raises(UsageError, match="folder: it is a directory"):
            files.require_writable("folder", overwrite)
    for name in ("there", "dangling"):
        with pytest.raises(UsageError, match=f"{name} exists already; pass --overwrite"):
            files.require_writable(name, overwrite=False)
        files.require_writable(name, overwrite=True)
    assert contents(folder) == {"there": b""}


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
