# SPDX-License-Identifier: Apache-2.0
"""The files that narrowing a model gives: the model, and on request its report, a C++ array, a C program, hardware."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tflm_export import __version__, c, cc_array, cores, files, kernels, metadata
from tflm_export.arithmetic import Narrow
from tflm_export.c import build_systems
from tflm_export.c.literals import GENERATED
from tflm_export.errors import UsageError
from tflm_export.grid import Grid
from tflm_export.report import Report
from tflm_export.rescale import READABLE_BITS

if TYPE_CHECKING:  # what nobody asks for is not loaded
    from tflm_export.rtl_folder import RtlFolder

# Modelled cycles of MLPerf Tiny at k = 1, zig -O2: on an M4 2.8 (ad01) to 4.0 (resnet8) times, on an M0+ 1.8 (ad01) and
# 2.7 (kws).
_PORTABLE = (
    "these are the portable kernels; on a Cortex-M4 they take 3 to 4 times the cycles of its own (--core m4), "
    "on an M0+ 2 to 3 times those of its own (--core m0plus)"
)


def default_path(model: str, suffix: str) -> str:
    """Where the narrowed model goes if nothing else is said: beside the stock one, e.g. MODEL_k4.tflite.

    Raises:
      UsageError: the stock model comes from standard input or another stream, which has no place of its own.
    """
    if files.is_stream(model):
        raise UsageError(f"--output is required where the model is read from {model}: a file, or - for standard output")
    root, extension = os.path.splitext(model)
    return f"{root}_{suffix}{extension or '.tflite'}"


def report_files(report: Report, path: str | None) -> dict[str, bytes]:
    """A report as a JSON file, content by path; nothing without a path."""
    return {} if path is None else {path: (json.dumps(report.to_dict(), indent=1) + "\n").encode()}


def require_writable(paths: list[str | None], overwrite: bool) -> None:
    """Raises UsageError where a path (None is none) cannot become an output file, or two of them are one file."""
    given = [path for path in paths if path is not None]
    for path in given:
        files.require_writable(path, overwrite)
    files.require_distinct(given)


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
      model: the narrowed file's bytes, with its metadata entry if there is one.
      lines: which files there are besides the report, for people.
    """

    model: bytes
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Which files to write. Nothing is written before everything is known to be possible.

    Attributes:
      model: path of the narrowed model, - for standard output.
      report: path of the report as JSON.
      array_folder: folder of the model as a C++ array.
      source_folder: folder of the model as a C99 program part, with what build systems read.
      rtl: folder of the model's rescales in hardware.
      name: of the model in C and C++, prefix of files and functions; by default the stem of `model`.
      core: whose kernels it is to use, a name of `cores.CORES`.
      optimize: what for: "speed" or "size".
      has_integer_borders: whether the program leaves float32 inputs and outputs to its caller.
      with_metadata: whether the model gets the entry `metadata.NAME`.
      overwrite: whether files that exist are replaced.
    """

    model: str
    report: str | None = None
    array_folder: str | None = None
    source_folder: str | None = None
    rtl: "RtlFolder | None" = None
    name: str | None = None
    core: str = "portable"
    optimize: str = "speed"
    has_integer_borders: bool = False
    with_metadata: bool = True
    overwrite: bool = False

    def check(self) -> None:
        """Refuses what could not be written, before any work is done.

        Raises:
          UsageError: a file exists already or cannot be written, two outputs are one file, or the name cannot be one.
        """
        folders = [folder for folder in (self.array_folder, self.source_folder) if folder is not None]
        if self.name is not None:
            cc_array.require_identifier(self.name)
        elif self.model in files.STANDARD_OUTPUT and folders:
            unnamed = "--cc_array and --c_source name their files after --output"
            raise UsageError(f"{unnamed}; give it a file instead of -, or add --model_name")
        for folder in folders:
            if not folder:
                raise UsageError("--c_source and --cc_array take a folder; the empty text is none (. is this one)")
            files.require_folder(folder)
        is_there = self.array_folder is not None and os.path.isdir(self.array_folder)
        array = self._array(b"") if is_there else {}
        require_writable([self.model, *array, self.report], self.overwrite)
        if self.source_folder is not None:
            self._require_own_folder(self.source_folder)
        if self.rtl is not None:
            self.rtl.check(self.overwrite)
            if any(os.path.realpath(folder) == os.path.realpath(self.rtl.path) for folder in folders):
                raise UsageError(f"--rtl takes a folder of its own, and {self.rtl.path} is that of other outputs, too")

    @property
    def rtl_folder(self) -> str | None:
        """Where the hardware goes."""
        return None if self.rtl is None else self.rtl.path

    def _require_own_folder(self, folder: str) -> None:
        """Raises UsageError where a folder holds another model's sources, or a build's files that are not ours."""
        name = cc_array.identifier(self._named)
        if any((kernels.FOLDER / f"{name}.{ending}").exists() for ending in "ch"):
            raise UsageError(f"{name} is the name of a kernel; --model_name gives the model another one")
        for path in (os.path.join(folder, f"{name}{ending}") for ending in (".h", ".c", "_layers.c")):
            if os.path.isfile(path) and GENERATED.encode() not in files.read(path):
                raise UsageError(f"{path} exists already, not written by tflm_export; --model_name gives another name")
        for path in (os.path.join(folder, path) for path in build_systems.PATHS):
            if not os.path.isfile(path):
                continue
            model = build_systems.model_of(files.read(path))
            if model is None:
                apart = f"a folder of its own, such as --c_source {os.path.join(folder, name)}"
                raise UsageError(f"{path} exists already, not written by tflm_export; give the sources {apart}")
            if not self.overwrite:
                what = f"{path} exists already, of the model {model}"
                raise UsageError(f"{what}; pass --overwrite to replace it, or give another model its own folder")

    def write(self, narrowed: bytes, report: Report, rows: Sequence[np.ndarray] | None = None) -> Written:
        """Writes all files or none, as `files.write` does.

        Args:
          narrowed: the file that `narrow` returned.
          report: what it reported.
          rows: real inputs for vectors of the hardware, an array for each input of the model; None for random ones.

        Raises:
          UsageError: a file cannot be written, or the program would need several widths above 16 bits.
          ModelError: an operator cannot be written as C.
        """
        has_metadata = self.with_metadata and len(report.offenders) < len(report.rows)
        data = metadata.attach(narrowed, report) if has_metadata else metadata.detach(narrowed)
        array = self._array(data)
        program = None if self.source_folder is None else self._program(data, report)
        sources = {} if program is None else self._folder(program)
        hardware = None if self.rtl is None else self.rtl.hardware(data, self._rtl_name, report, rows)
        blocks = {} if hardware is None else _inside(self.rtl_folder, hardware.files())
        with files.folders({os.path.dirname(path) for path in [*array, *sources, *blocks]}):
            require_writable([*sources, *blocks, self.report], self.overwrite)
            stale = [] if self.rtl is None else self.rtl.stale(blocks)
            files.write(
                {self.model: data} | array | sources | blocks | report_files(report, self.report), self.overwrite
            )
            files.remove(stale)
        size = f"{len(data)} bytes" + (f", {len(data) - len(narrowed)} of them metadata" if has_metadata else "")
        lines = [f"{self.model}: {report.summary()}; {size}", *array]
        if program is not None:
            lines.append(f"{self.source_folder}: {len(sources)} files; {program.summary()}")
            lines += [f"note: {label} is not in the program" for label in program.left]
            lines += [f"note: {text}" for text in (*self._speed(program), *self._leftovers(sources))]
        if hardware is not None:
            lines.append(f"{self.rtl_folder}: {len(blocks)} files; {hardware.summary()}")
            lines += [f"note: {text}" for text in (*hardware.notes(), *self.rtl.leftovers(blocks))]
        return Written(data, tuple(lines))

    def _speed(self, program: c.CProgram) -> list[str]:
        """What would make a program faster."""
        work = [(step, step.multiplications) for step in program.steps]
        slow = [(step.origin.name, count) for step, count in work if step.is_general and count]
        total, share = sum(count for _, count in work), sum(count for _, count in slow)
        if share > total / 2:
            is_uint8 = any(value.dtype.name == "uint8" for step in program.steps for value in step.inputs)
            remedy = "; --to_int8 gives the faster ones for int8" if is_uint8 else ""
            names = ", ".join(sorted({name for name, _ in slow}))
            return [f"{share * 100 // total}% of the multiplications ({names}) are in kernels for all types{remedy}"]
        return [_PORTABLE] if total and cores.find(self.core).kernels == "portable" else []

    def _leftovers(self, sources: Iterable[str]) -> list[str]:
        """What a build that takes all sources of the folder would take besides."""
        there = {os.path.join(self.source_folder, name) for name in os.listdir(self.source_folder)}
        others = sorted(os.path.basename(path) for path in there - {*sources} if path.endswith((".c", ".h")))
        return [f"{self.source_folder} holds {', '.join(others)} from before or of yours"] if others else []

    def _array(self, data: bytes) -> dict[str, bytes]:
        """The sources of the C++ array by path."""
        return {} if self.array_folder is None else _inside(self.array_folder, cc_array.sources(data, self._named))

    def _folder(self, program: c.CProgram) -> dict[str, bytes]:
        """The C sources and what build systems read beside them, by path."""
        sources = program.files()
        return _inside(self.source_folder, sources | build_systems.files(program.name, sources, __version__))

    @property
    def _named(self) -> str:
        """What the sources are named after."""
        return self.model if self.name is None else self.name

    @property
    def _rtl_name(self) -> str:
        """What the hardware calls the model, for people."""
        return "model" if self._named in files.STANDARD_OUTPUT else os.path.splitext(os.path.basename(self._named))[0]

    def _program(self, data: bytes, report: Report) -> c.CProgram:
        widths = {row.bits for row in report.rows}  # those of up to 16 bits are read from the scales, each its own
        unreadable = sorted(bits for bits in widths if bits > READABLE_BITS)
        if len(unreadable) > 1:
            raise UsageError(
                f"--c_source takes one width above {READABLE_BITS} bits, as scales do not tell them apart; "
                f"--bits_config has {', '.join(map(str, unreadable))}"
            )
        arithmetic = Narrow(Grid(max(widths, default=report.bits)))
        name = cc_array.identifier(self._named)
        return c.translate(data, name, arithmetic, self.core, self.has_integer_borders, self.optimize)


def _inside(folder: str | None, contents: dict[str, bytes]) -> dict[str, bytes]:
    """Contents by path instead of by name in a folder."""
    return {os.path.join(folder, name): content for name, content in contents.items()}
