# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow Lite Micro that the user brings: what is in its folder, and how applications are compiled for it.

docs/tflm.md says what the folder is: TFLM's tree, and beside it a library for each core.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import shutil

from tflm_export import UsageError

VARIABLE = "TFLM_DIR"
ARCHIVE = "libtensorflow-microlite.a"
_THIRD_PARTY = ("flatbuffers/include", "gemmlowp", "ruy")
_MICRO = "tensorflow/lite/micro"
_CPP = (
    "-std=c++17 -fno-rtti -fno-exceptions -fno-threadsafe-statics -DTF_LITE_STATIC_MEMORY "
    "-DTF_LITE_STRIP_ERROR_STRINGS -DNDEBUG"  # without messages, an application links with either kind of library
).split()
_CMSIS_NN = b"arm_convolve_wrapper_s8"  # one of its functions


@dataclasses.dataclass(frozen=True)
class Library:
    """TFLM for a core.

    Attributes:
      folder: headers, as TFLM's create_tflm_tree.py writes them, and `lib/CORE/libtensorflow-microlite.a`.
      cpu: the core.
    """

    folder: pathlib.Path
    cpu: str

    @property
    def archive(self) -> pathlib.Path:
        """The library itself."""
        return self.folder / "lib" / self.cpu / ARCHIVE

    @functools.cached_property
    def has_cmsis_nn(self) -> bool:
        """Whether it was built with the kernels of CMSIS-NN."""
        return _CMSIS_NN in self.archive.read_bytes()

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "TFLM + CMSIS-NN" if self.has_cmsis_nn else "TFLM, reference kernels"

    @property
    def about(self) -> str:
        """What the user says it is, in about.txt of the folder; empty without one."""
        path = self.folder / "about.txt"
        return " ".join(path.read_text(encoding="utf-8").split()) if path.is_file() else ""

    @functools.cached_property
    def digest(self) -> str:
        """Of the library's bytes."""
        return hashlib.sha256(self.archive.read_bytes()).hexdigest()

    @functools.cached_property
    def resolver(self) -> dict[str, str]:
        """Functions of MicroMutableOpResolver that add an operator, by the operator's name."""
        text = (self.folder / _MICRO / "micro_mutable_op_resolver.h").read_text(encoding="utf-8")
        added = re.findall(r"TfLiteStatus (Add\w+)\([^{}]*\{\s*return AddBuiltin\(\s*BuiltinOperator_(\w+),", text)
        return {operator: function for function, operator in added}

    @functools.cached_property
    def registrations(self) -> frozenset[str]:
        """Registrations that kernels' headers declare, Register_CONV_2D_INT8 among them."""
        resolver = (self.folder / _MICRO / "micro_mutable_op_resolver.h").read_text(encoding="utf-8")
        headers = re.findall(rf'#include "({_MICRO}/kernels/\w+\.h)"', resolver)
        texts = ((self.folder / header).read_text(encoding="utf-8") for header in headers)
        return frozenset(name for text in texts for name in re.findall(r"TFLMRegistration (Register_\w+)\(\);", text))

    def options(self) -> list[str]:
        """Of the compiler, for an application in C++."""
        system = [self.folder, *(self.folder / "third_party" / name for name in _THIRD_PARTY)]
        includes = [part for path in system for part in ("-isystem", str(path))]
        return [*_CPP, *(["-DCMSIS_NN"] if self.has_cmsis_nn else []), *includes]


def find(folder: str | None, cpu: str) -> Library:
    """The library for a core in a folder, by default in the one that TFLM_DIR names.

    Raises:
      UsageError: it is not there, or there is no compiler for it.
    """
    folder = folder or os.environ.get(VARIABLE)
    if not folder:
        raise UsageError(
            f"no TensorFlow Lite Micro: pass --tflm_dir or set {VARIABLE}; docs/tflm.md says what it holds"
        )
    library = Library(pathlib.Path(folder).resolve(), cpu)
    for path in (library.archive, library.folder / _MICRO / "micro_mutable_op_resolver.h"):
        if not path.is_file():
            raise UsageError(f"{folder} has no {path.relative_to(library.folder)}; docs/tflm.md says what it holds")
    if shutil.which("arm-none-eabi-g++") is None:
        raise UsageError("arm-none-eabi-g++ is not installed; libraries of TFLM are built and linked by it")
    return library
