# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all; - is standard input or output."""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator

from tflm_export import signals
from tflm_export.errors import UsageError

STANDARD_INPUT = ("-", "/dev/stdin")
STANDARD_OUTPUT = ("-", "/dev/stdout")
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


def read(path: str) -> bytes:
    """The bytes of a file, or of standard input.

    Raises:
      UsageError: it cannot be read.
    """
    try:
        if path in STANDARD_INPUT:
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def content(source: bytes | bytearray | memoryview | str | os.PathLike, what: str) -> bytes:
    """The bytes of a file that are given themselves or by its path.

    Args:
      source: the one or the other.
      what: what it should be, for messages.

    Raises:
      UsageError: it is neither, or the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return read(os.fspath(source))
    raise UsageError(f"{what} is given as bytes or as a path, got {type(source).__name__}")


def is_stream(path: str) -> bool:
    """Whether a path to read is no file that others could stand beside: standard input, a pipe, a device."""
    if path in STANDARD_INPUT or os.path.realpath(os.path.dirname(path)).startswith("/proc/"):  # as is /dev/fd
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def require_writable(path: str, overwrite: bool) -> None:
    """Raises UsageError where `path` cannot become an output file.

    There is no such directory; or there is something already that is no regular file, or that may not be replaced.
    """
    if path not in STANDARD_OUTPUT:
        _destination(path, overwrite)


def require_distinct(paths: list[str]) -> None:
    """Raises UsageError where two of the paths are one file."""
    if len({"-" if path in STANDARD_OUTPUT else os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError(f"two outputs would be the same file: {', '.join(paths)}")


def require_folder(path: str) -> None:
    """Raises UsageError where `path` is no folder and cannot become one, as something else is in its place."""
    place = path
    while place and not os.path.lexists(place):
        place = os.path.dirname(place)
    if place and not os.path.isdir(place):
        raise UsageError(f"cannot make the folder {path}: {place} is no folder")


@contextlib.contextmanager
def folders(paths: Iterable[str]) -> Iterator[None]:
    """Makes folders, and at the end takes away new ones in which nothing was written.

    Args:
      paths: of the folders, those above them being made as well; an empty one is the current folder.

    Raises:
      UsageError: one cannot be made.
    """
    made: list[str] = []
    try:
        for path in sorted(paths):
            _make(path, made)
        yield
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(path)


def _make(path: str, made: list[str]) -> None:
    if not path or os.path.isdir(path):
        return
    _make(os.path.dirname(path), made)
    if os.path.isdir(path):  # a/b/ is a/b
        return
    try:
        os.mkdir(path)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}") from error
    made.append(path)


def write(contents: dict[str, bytes], overwrite: bool = True) -> None:
    """Writes files through temporary ones beside them, which get their names once all are complete.

    A signal that stops the program leaves all of them or none, and no temporary file.
    Without `overwrite`, of several processes that write the same files at once one succeeds; the others raise. With it,
    each file is of the process that was last to replace it.

    Args:
      contents: bytes by path. Links are followed, so that they stay; "-" is standard output, written last.
      overwrite: whether regular files that exist are replaced.

    Raises:
      UsageError: a file cannot be written, exists and is not to be replaced, or is no regular file; or two paths name
        one file. None of them has appeared or changed.
    """
    require_distinct(list(contents))
    # In one order for all processes: whoever gets the first name gets them all.
    places = sorted((_destination(path, overwrite), path) for path in contents if path not in STANDARD_OUTPUT)
    with signals.held() as released, contextlib.ExitStack() as cleaning, contextlib.ExitStack() as undoing:
        temporary = {}
        path = ""
        try:
            for place, path in places:
                temporary[path] = _beside(place, cleaning)
                with released(), open(temporary[path], "wb") as file:
                    file.write(contents[path])
                    file.flush()
                    os.fsync(file.fileno())
            for place, path in places:
                _put(temporary[path], place, overwrite, cleaning, undoing)
            for path in contents.keys() & {*STANDARD_OUTPUT}:
                with released():
                    sys.stdout.buffer.write(contents[path])
                    sys.stdout.buffer.flush()
        except FileExistsError as error:
            raise _exists(path) from error
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        undoing.pop_all()


def remove(paths: Iterable[str]) -> None:
    """Takes files away. Those that are not there, or cannot be removed, stay as they are."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.remove(path)


def _destination(path: str, overwrite: bool) -> str:
    """The path of the regular file that writing to a path makes or replaces: where it is a link, what that names.

    Raises:
      UsageError: it cannot be written.
    """
    if not path:
        raise UsageError("cannot write a file without a name")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise UsageError(f"cannot write {path}: there is no directory {directory}")
    if not os.path.lexists(path):
        return os.path.realpath(path)
    if not os.path.exists(path):
        there = f"a link to {os.readlink(path)}, where there is no file"
        raise UsageError(f"cannot write {path}: it is {there}; name that file itself, or remove the link")
    if not os.path.isfile(path):
        kind = _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "no file")
        raise UsageError(f"cannot write {path}: it is {kind}; only regular files are replaced (- is standard output)")
    if not overwrite:
        raise _exists(path)
    return os.path.realpath(path)


def _exists(path: str) -> UsageError:
    return UsageError(f"{path} exists already; pass --overwrite to replace it")


def _put(name: str, place: str, overwrite: bool, cleaning: contextlib.ExitStack, undoing: contextlib.ExitStack) -> None:
    """Gives a complete file its place.

    Raises:
      FileExistsError: something is there already, and `overwrite` is not set.
    """
    if not overwrite:
        _create(name, place)
        undoing.callback(_remove, place)
        return
    if os.path.lexists(place):
        undoing.callback(os.replace, _second_name(place, cleaning), place)
    else:
        undoing.callback(_remove, place)
    os.replace(name, place)


def _create(name: str, place: str) -> None:
    """Gives a complete file a place that nothing has, in one step."""
    try:
        os.link(name, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file keeps the place for a moment
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(name, place)
        except BaseException:
            _remove(place)
            raise


def _beside(path: str, cleaning: contextlib.ExitStack) -> str:
    """A new empty file in the folder of a path, with the permissions of an ordinary one; removed at the end."""
    handle, name = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    cleaning.callback(_remove, name)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    return name


def _second_name(path: str, cleaning: contextlib.ExitStack) -> str:
    """Another name for a file, from which it can be put back; the file stays where it is all the while."""
    name = _beside(path, cleaning)
    os.remove(name)
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(path, name, follow_symlinks=False)
    return name


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
