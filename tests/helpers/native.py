"""C on the host: the kernels through ctypes, built with gcc and the undefined-behaviour sanitizer, which aborts."""

import contextlib
import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import pytest

from tflm_export import kernels

_WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror".split()
WARNINGS = ["-std=c99", *_WARNINGS]
CPP_WARNINGS = ["-std=c++17", *_WARNINGS]
UNDEFINED = "-fsanitize=undefined -fno-sanitize-recover=all".split()
GUARD = 64  # bytes on each side of what a kernel may write
_CANARY = 0x5A

requires_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
requires_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


class Window(ctypes.Structure):
    """narrow_window."""

    _fields_ = [(name, ctypes.c_int32) for name in """
        batches input_height input_width input_channels output_height output_width output_channels kernel_height
        kernel_width stride_height stride_width dilation_height dilation_width pad_top pad_left
    """.split()] + [("padding_value", ctypes.c_int8)]  # fmt: skip


class Rescale(ctypes.Structure):
    """narrow_rescale."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("start", "multiplier", "fold", "shift")] + [
        ("zero_point", ctypes.c_int32)
    ]


def run(command: list) -> None:
    """Runs a compiler or a program; what it printed is in the error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"


def library(files: dict[str, bytes], *flags: str) -> ctypes.CDLL:
    """A shared library of C or of C++ files; nothing stays on disk."""
    units = [file for file in files if file.endswith((".c", ".cc"))]
    compiler = ["g++", *CPP_WARNINGS] if units[0].endswith(".cc") else ["gcc", *WARNINGS]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        units = [folder / file for file in units]
        run([*compiler, *UNDEFINED, *flags, "-O1", "-shared", "-fPIC", "-o", folder / "library.so", *units])
        return ctypes.CDLL(str(folder / "library.so"))


@functools.cache
def kernel_library() -> ctypes.CDLL:
    """All kernels."""
    return library(kernels.sources(sorted(path.name for path in kernels.FOLDER.glob("*.c"))))


def pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


@contextlib.contextmanager
def guarded(size: int):
    """An int8 array between canaries that must survive."""
    memory = np.full(size + 2 * GUARD, _CANARY, np.int8)
    yield memory[GUARD : GUARD + size]
    assert (memory[:GUARD] == _CANARY).all(), "written before its start"
    assert (memory[GUARD + size :] == _CANARY).all(), "written behind its end"


def call(function: str, *arguments, output_size: int, scratch_size: int | None = None) -> np.ndarray:
    """Calls a kernel: arguments, then its output and, where it has one, its scratch memory.

    Integers are int32; pass ctypes objects for anything else. Arrays are passed by their address.
    """
    converted = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous
            converted.append(pointer(argument))
        elif isinstance(argument, ctypes.Structure):
            converted.append(ctypes.byref(argument))
        elif isinstance(argument, (int, np.integer)):
            assert -(1 << 31) <= argument < 1 << 31
            converted.append(ctypes.c_int32(int(argument)))
        else:
            converted.append(argument)
    with guarded(output_size) as output, guarded(scratch_size or 0) as scratch:
        memory = [pointer(output)] + ([pointer(scratch)] if scratch_size is not None else [])
        getattr(kernel_library(), function)(*converted, *memory)
        return output.copy()


def rescale_struct(folded, in_assembly: bool = False) -> tuple[Rescale, dict]:
    """The structure of a folded rescale, and the arrays that have to stay alive with it."""
    arrays = folded.constants(in_assembly)
    fields = {name: values.ctypes.data for name, values in arrays.items()}
    return Rescale(**fields, zero_point=folded.zero_point), arrays
