"""Files that appear whole or not at all."""

import contextlib
import os
import shutil
import tempfile

from tflm_export.errors import UsageError


def read(path: str) -> bytes:
    """The bytes of a file.

    Raises:
      UsageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def require_writable(path: str, overwrite: bool) -> None:
    """Raises UsageError where `path` cannot become an output file: no such directory, or it is there already."""
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise UsageError(f"cannot write {path}: there is no directory {directory}")
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}: it is a directory")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path} exists already; pass --overwrite to replace it")


def require_distinct(paths: list[str]) -> None:
    """Raises UsageError where two of the paths are one file."""
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError(f"two outputs would be the same file: {', '.join(paths)}")


def write(contents: dict[str, bytes]) -> None:
    """Writes files through temporary ones beside them, renamed once all are complete.

    Args:
      contents: bytes by path. Existing files are replaced.

    Raises:
      UsageError: a file cannot be written, or two paths name one file; none of them has appeared or changed.
    """
    require_distinct(list(contents))
    with contextlib.ExitStack() as cleaning, contextlib.ExitStack() as undoing:
        temporary = {}
        path = ""
        try:
            for path, content in contents.items():
                temporary[path] = _beside(path, cleaning)
                with open(temporary[path], "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for path, name in temporary.items():
                if os.path.lexists(path):
                    undoing.callback(os.replace, _second_name(path, cleaning), path)
                else:
                    undoing.callback(_remove, path)
                os.replace(name, path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        undoing.pop_all()


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
