# SPDX-License-Identifier: Apache-2.0
"""A model's C on this machine, in a process of its own that a sanitizer may end."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np

from benchmarks.emulators.borders import Borders
from benchmarks.emulators.execution import EngineError
from benchmarks.emulators.firmware import BuildError, first_lines
from tflm_export.c import CProgram

_SOURCE = pathlib.Path(__file__).with_name("host.c")
_WARNINGS = "-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror".split()
SANITIZED = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all".split()
# gcc looks for what is undefined or out of bounds; zig, a clang, for what another compiler makes of the same source.
COMPILERS = {"gcc": SANITIZED, "zig": ["-O2"]}


def run(program: CProgram, inputs: list[np.ndarray], rows: int, compiler: str, folder: pathlib.Path, seconds: float):
    """Inferences one after the other, from the start.

    Args:
      program: the model.
      inputs: an array for each input, [rows * first dimension, other dimensions].
      rows: how many inferences.
      compiler: one of COMPILERS.
      folder: for source and program; made where it is not there.
      seconds: how long it may run.

    Returns:
      An array for each output, [rows, elements].

    Raises:
      BuildError: the compiler is missing, fails or warns.
      EngineError: the program did not end as it should, e.g. because a sanitizer found something.
    """
    borders = Borders.of(program)
    path = _built(program, borders, compiler, folder, seconds)
    packed = borders.pack(inputs, rows).tobytes()
    try:
        done = subprocess.run([path], input=packed, capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise EngineError(f"it ran longer than {seconds:.0f} s") from None
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line.lower()]
        raise EngineError(f"it ended with exit code {done.returncode}: {' '.join(said[:1])}")
    found = np.frombuffer(done.stdout, np.int8)
    if found.size != rows * borders.sizes[1]:
        raise EngineError(f"it gave {found.size} bytes instead of {rows * borders.sizes[1]}")
    return borders.unpack(found.reshape(rows, -1))


def _built(program: CProgram, borders: Borders, compiler: str, folder: pathlib.Path, seconds: float) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = program.files() | {borders.file: borders.header()}
    for file, content in files.items():
        (folder / file).write_bytes(content)
    input_bytes, output_bytes = borders.sizes
    path = folder / compiler
    command = [
        *_command(compiler),
        *_WARNINGS,
        *COMPILERS[compiler],
        f'-DHOST_HEADER="{borders.file}"',
        f"-DHOST_INPUT_BYTES={input_bytes}",
        f"-DHOST_OUTPUT_BYTES={output_bytes}",
        f"-DHOST_INVOKE={borders.function}",
        f"-I{folder}",
        *(str(folder / file) for file in files if file.endswith(".c")),
        str(_SOURCE),
        "-o",
        str(path),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{compiler} ran longer than {seconds:.0f} s") from None
    if done.returncode:
        raise BuildError(first_lines(f"{compiler} failed:", done.stdout + done.stderr))
    return path


def _command(compiler: str) -> list[str]:
    if compiler == "zig":
        return [sys.executable, "-m", "ziglang", "cc"]
    found = shutil.which(compiler)
    if found is None:
        raise BuildError(f"{compiler} is not installed")
    return [found]
