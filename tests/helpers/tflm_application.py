# SPDX-License-Identifier: Apache-2.0
"""The application of docs/tflm.md on a host or an emulated core, linked with the TFLM that TFLM_DIR points to.

TFLM_DIR is a folder with what TFLM's create_tflm_tree.py writes (`tensorflow/`, `third_party/`) and, from its
`make microlite`, `lib/TARGET/libtensorflow-microlite.a` for each TARGET: host, cortex-m0plus or cortex-m4.
"""

import functools
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.emulators import tflm as brought
from tests.helpers import native
from tests.helpers.internals import dtype_of
from tflm_export import cc_array, kernels
from tflm_export.flatbuffer.model import parse

VARIABLE = brought.VARIABLE
TARGETS = ("host", "cortex-m0plus", "cortex-m4")
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_FOLDER = kernels.FOLDER / "tflm"
_EMULATORS = _ROOT / "benchmarks" / "emulators"
_COMMON = "-O2 -Wall -Wextra -Werror -ffunction-sections -fdata-sections".split()
_BARE_METAL = "-mthumb -mfloat-abi=soft -fomit-frame-pointer".split()
_PAGE = _ROOT / "docs" / "tflm.md"
_HOST_MAIN = b"""
#include <stdio.h>
#include "firmware_header.h"

/* Inferences on standard input, their outputs on standard output. */
int main(void) {
  static int8_t input[FIRMWARE_INPUT_BYTES], output[FIRMWARE_OUTPUT_BYTES];
  while (fread(input, sizeof input, 1, stdin) == 1) {
    if (model_invoke(input, output) != 0 || fwrite(output, sizeof output, 1, stdout) != 1) return 1;
  }
  return 0;
}
"""


def _block(language: str) -> str:
    """The only block of docs/tflm.md in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return text


def _link_options() -> list[str]:
    """LINK of the commands in docs/tflm.md, for firmware.ld."""
    lines = re.findall(r'^LINK="(?:\$LINK )?(.*)"$', _block("sh"), re.MULTILINE)
    return " ".join(lines).replace("end=bss_end", "end=firmware_bss_end").split()


def source(more: Sequence[str] = ()) -> str:
    """The application in docs/tflm.md, with calls of more of the resolver's functions."""
    code = _block("cpp")
    calls = "".join(f"  TF_LITE_ENSURE_STATUS(resolver.{name}());\n" for name in more)
    code = code.replace("  return resolver.", f"{calls}  return resolver.")
    return re.sub(r"OpResolver<(\d+)>", lambda found: f"OpResolver<{int(found[1]) + len(more)}>", code)


def tflm() -> pathlib.Path:
    """The user's TFLM; skips the test where there is none."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"no TensorFlow Lite Micro: set {VARIABLE} (docs/tflm.md)")
    return pathlib.Path(path).resolve()


def _tools(target: str) -> tuple[pathlib.Path, list[str], str]:
    """The library, the compiler's options, and the prefix of its name; skips the test where something is missing."""
    library = brought.Library(tflm(), target).archive
    prefix = "" if target == "host" else "arm-none-eabi-"
    if not library.is_file():
        pytest.skip(f"{VARIABLE} has no lib/{target}/{library.name}")
    if shutil.which(f"{prefix}g++") is None:
        pytest.skip(f"{prefix}g++ is not installed")
    return library, _COMMON + ([] if target == "host" else [f"-mcpu={target}", *_BARE_METAL]), prefix


def has_cmsis_nn(target: str) -> bool:
    """Whether the user's library for a target has the kernels of CMSIS-NN; skips the test where there is none."""
    _tools(target)
    return brought.Library(tflm(), target).has_cmsis_nn


def _compile(target: str, files: list[pathlib.Path], folder: pathlib.Path, *flags: str) -> list[pathlib.Path]:
    """Objects of C and C++ files."""
    _, options, prefix = _tools(target)
    library = brought.Library(tflm(), target)
    includes = [f"-I{path}" for path in (kernels.FOLDER, _FOLDER, folder)]
    objects = [folder / f"{file.name}.o" for file in files]
    for file, output in zip(files, objects, strict=True):
        is_cpp = file.suffix == ".cc"
        compiler = [f"{prefix}g++", *library.options()] if is_cpp else [f"{prefix}gcc", "-std=c99"]
        native.run([*compiler, *options, *includes, *flags, "-c", file, "-o", output])
    return objects


@functools.cache
def _registrations(target: str) -> tuple[tempfile.TemporaryDirectory, list[pathlib.Path]]:
    """Objects of the registrations and their kernels, and the folder that has to stay with them."""
    folder = tempfile.TemporaryDirectory()
    files = [*sorted(_FOLDER.glob("*.cc")), *sorted(kernels.FOLDER.glob("narrow_*.c"))]
    return folder, _compile(target, files, pathlib.Path(folder.name))


def _files(model: bytes, more: Sequence[str] = ()) -> dict[str, bytes]:
    """The application, its model, and a header for firmware.c."""
    return cc_array.sources(model, "model.tflite") | {
        "application.cc": source(more).encode(),
        "firmware_header.h": b"#include <stdint.h>\n\nint model_invoke(const int8_t *input, int8_t *output);\n",
    }


def _definitions(model: bytes) -> dict[str, str]:
    """The macros that firmware.c reads."""
    graph = parse(model).subgraphs[0]
    sizes = {"INPUT": graph.inputs[0], "OUTPUT": graph.outputs[0]}
    bytes_of = {f"FIRMWARE_{name}_BYTES": str(_bytes(tensor)) for name, tensor in sizes.items()}
    return bytes_of | {"FIRMWARE_HEADER": '"firmware_header.h"', "FIRMWARE_INVOKE": "model_invoke"}


def build(model: bytes, target: str, folder: pathlib.Path, more: Sequence[str] = ()) -> pathlib.Path:
    """Builds the application around a model.

    Args:
      model: a .tflite file with one input and one output.
      target: one of TARGETS.
      folder: an empty one.
      more: functions of the resolver that the application does not call.

    Returns:
      The program: an ELF file with firmware.c's symbols, or a host's program.
    """
    library, options, prefix = _tools(target)
    _, objects = _registrations(target)
    files = _files(model, more) | {"main.c": _HOST_MAIN}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    is_host = target == "host"
    units = [folder / name for name in files if name.endswith(".cc")]
    units.append(folder / "main.c" if is_host else _EMULATORS / "firmware.c")
    defines = [f"-D{name}={value}" for name, value in _definitions(model).items()]
    program = folder / "program.elf"
    link = [] if is_host else [*_link_options(), f"-Wl,-T,{_EMULATORS / 'firmware.ld'}"]
    objects = [*_compile(target, units, folder, *defines), *objects]
    native.run([f"{prefix}g++", *options, "-Wl,--gc-sections", *link, *objects, library, "-lm", "-o", program])
    return program


def build_as_printed(model: bytes, folder: pathlib.Path) -> pathlib.Path:
    """Builds the application around a model with the commands of docs/tflm.md: an ELF file for a Cortex-M4.

    Args:
      model: a .tflite file with one input and one output.
      folder: an empty one.
    """
    _tools("cortex-m4")
    macros = "".join(f"#define {name} {value}\n" for name, value in _definitions(model).items())
    end = "firmware_bss_end = .;"
    script = (_EMULATORS / "firmware.ld").read_text().replace(end, f"{end} bss_end = .;")
    board = {"board.c": f'{macros}#include "{_EMULATORS / "firmware.c"}"\n', "board.ld": script}
    for name, content in (_files(model) | {name: text.encode() for name, text in board.items()}).items():
        (folder / name).write_bytes(content)
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {VARIABLE: str(tflm()), "PATH": path, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        ["sh", "-e", "-c", _block("sh")], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return folder / "firmware.elf"


def _bytes(tensor) -> int:
    return math.prod(tensor.shape) * np.dtype(dtype_of(tensor)).itemsize


def run(model: bytes, inputs: np.ndarray, target: str, folder: pathlib.Path, more: Sequence[str] = ()) -> np.ndarray:
    """Outputs [rows, elements] of the application for inputs [rows, ...], both in the tensors' types."""
    program = build(model, target, folder, more)
    if target != "host":
        return emulate(program, model, inputs, target)
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, "the application's model_invoke failed"
    return np.frombuffer(done.stdout, dtype_of(parse(model).subgraphs[0].outputs[0])).reshape(len(inputs), -1)


def emulate(program: pathlib.Path, model: bytes, inputs: np.ndarray, target: str) -> np.ndarray:
    """What `run` returns, from an ELF file for an emulated core."""
    for module in ("unicorn", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks.emulators import firmware, unicorn_engine

    machine = unicorn_engine.Machine(firmware.load(program, target), [])
    output = parse(model).subgraphs[0].outputs[0]
    rows = [machine.infer(row.reshape(-1).view(np.int8), _bytes(output)) for row in inputs]
    return np.stack(rows).view(dtype_of(output))
