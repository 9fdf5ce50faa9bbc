# SPDX-License-Identifier: Apache-2.0
"""C on the host: the kernels through ctypes, built with gcc and the undefined-behaviour sanitizer, which traps."""

import ctypes
import dataclasses
import functools
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import pytest

from tests.helpers import memory
from tests.helpers.memory import Memory
from tflm_export import kernels

_WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror".split()
WARNINGS = ["-std=c99", *_WARNINGS]
CPP_WARNINGS = ["-std=c++17", *_WARNINGS]
UNDEFINED = "-fsanitize=undefined -fsanitize-undefined-trap-on-error".split()

requires_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
requires_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


class Window(ctypes.Structure):
    """narrow_window."""

    _fields_ = [(name, ctypes.c_int32) for name in """
        batches input_height input_width input_channels output_height output_width output_channels kernel_height
        kernel_width stride_height stride_width dilation_height dilation_width pad_top pad_left
    """.split()] + [("padding_value", ctypes.c_int8)]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Rescale:
    """narrow_rescale: what fits int32 [channels], shift int8; None for NULL."""

    zero_point: int = 0
    start: np.ndarray | list[int] | None = None
    multiplier: np.ndarray | list[int] | None = None
    fold: np.ndarray | list[int] | None = None
    shift: np.ndarray | list[int] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Those there are, as the structure has them."""
        types = {"start": np.int32, "multiplier": np.int32, "fold": np.int32, "shift": np.int8}
        present = {name: getattr(self, name) for name in types if getattr(self, name) is not None}
        return {name: _exactly(values, types[name]) for name, values in present.items()}


class _RescaleStructure(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("start", "multiplier", "fold", "shift")] + [
        ("zero_point", ctypes.c_int32)
    ]


def _exactly(values, dtype) -> np.ndarray:
    converted = np.asarray(values).astype(dtype)
    assert (converted == values).all(), "does not fit"
    return converted


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
        run([*compiler, *UNDEFINED, "-O1", *flags, "-shared", "-fPIC", "-o", folder / "library.so", *units])
        return ctypes.CDLL(str(folder / "library.so"))


@functools.cache
def kernel_library() -> ctypes.CDLL:
    """All kernels."""
    return library(kernels.sources(sorted(path.name for path in kernels.FOLDER.glob("*.c"))))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def call(
    function: str, *arguments, output_size: int, scratch_size: int | None = None, initial: np.ndarray | None = None,
    in_place: bool = False, library: ctypes.CDLL | None = None,
) -> np.ndarray:  # fmt: skip
    """Calls a kernel: arguments, then its output and, where it has one, its scratch memory.

    Everything is called twice, with all memory right before an inaccessible page and right behind one, and filled
    differently; inputs cannot be written.

    Args:
      function: its name.
      arguments: integers are int32; pass ctypes objects for others. Arrays, windows and Rescales go by their address.
      output_size, scratch_size: in bytes. Scratch memory is aligned to 4.
      initial: int8 [output_size], what is in the output before.
      in_place: the last argument, int8 [output_size], is the output as well.
      library: where the function is; by default `kernel_library()`.

    Returns:
      int8 [output_size].

    Raises:
      AssertionError: undefined behaviour, a byte touched that is not the function's, or outputs that depend on bytes
        that nobody wrote.
    """
    found = getattr(library or kernel_library(), function)
    if in_place:
        *arguments, initial = arguments
    first, second = (
        _call(found, arguments, output_size, scratch_size, initial, in_place, *way)
        for way in ((True, 0x5A), (False, 0xA5))
    )
    np.testing.assert_array_equal(first, second, f"{function} depends on what its memory holds before, or where it is")
    return first


def _call(function, arguments, output_size, scratch_size, initial, in_place, behind: bool, filling: int) -> np.ndarray:
    memories: dict[str, Memory] = {}

    def placed(name: str, content: np.ndarray) -> int:
        memories[name] = Memory.of(content, behind, filling)
        return memories[name].address

    def value(name: str, argument) -> int:
        if isinstance(argument, np.ndarray):
            return placed(name, argument)
        if isinstance(argument, Rescale):
            fields = {field: placed(f"{name}.{field}", array) for field, array in argument.arrays().items()}
            argument = _RescaleStructure(**fields, zero_point=argument.zero_point)
        if isinstance(argument, ctypes.Structure):
            return placed(name, np.frombuffer(bytes(argument), np.int64))
        if isinstance(argument, (int, np.integer)):
            assert -(1 << 31) <= argument < 1 << 31
            return int(argument)
        return argument.value

    values = [value(f"argument {i}", argument) for i, argument in enumerate(arguments)]
    memories["output"] = output = Memory(output_size, behind, filling)
    if initial is not None:
        output.data[:] = initial.reshape(-1).view(np.uint8)
    values += [output.address] * (1 + in_place)
    if scratch_size is not None:
        memories["scratch"] = Memory(scratch_size, behind, filling, 4)
        values.append(memories["scratch"].address)
    memory.call(function, values, memories)
    return output.data.view(np.int8).copy()


def rescale_of(folded, in_assembly: bool = False) -> Rescale:
    """What a kernel is given of a folded rescale."""
    return Rescale(folded.zero_point, **folded.constants(in_assembly))
