# SPDX-License-Identifier: Apache-2.0
"""A model in TFLM and as C on emulated cores, measured as far as what is known of it no longer holds."""

import dataclasses
import hashlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator

from benchmarks import c_corpus, tflm_application
from benchmarks.device_runs import STOCK, Run, measure, measure_elf
from benchmarks.emulators import firmware, tflm
from benchmarks.emulators.execution import EngineError
from benchmarks.natural_inputs import Rows, natural_inputs, random_inputs
from benchmarks.parts import IDEAL, Part
from benchmarks.peers_report import NO_C
from tflm_export import ModelError, c, to_int8
from tflm_export.arithmetic import Tflm
from tflm_export.flatbuffer.model import parse

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# What figures depend on: TFLM's programs, what measures, and the C.
_MAKING = ("benchmarks/tflm_application.py", "benchmarks/emulators/tflm*.py", "benchmarks/emulators/firmware.[cl]*")
_MEASURING = ("benchmarks/cycles.py", "benchmarks/device_runs.py", "benchmarks/natural_inputs.py")
_MEASURING += ("benchmarks/peers_runs.py", "benchmarks/emulators/*.*", "tflm_export/simulator.py")
_WRITING = tuple(f"tflm_export/**/*.{kind}" for kind in ("py", "c", "cc", "h", "S"))
_SHOWN = 10  # functions, the largest ones


@dataclasses.dataclass(frozen=True)
class Settings:
    """How models are measured.

    Attributes:
      libraries: TFLM for each core.
      programs: folder of ELF files with TFLM, which are kept.
      bits: width of the narrowed C, which stands beside the stock one.
      samples: inferences.
      toolchain: compiler of the C.
      part: what cycles are modelled for.
    """

    libraries: tuple[tflm.Library, ...]
    programs: pathlib.Path
    bits: int
    samples: int
    toolchain: str
    part: Part = IDEAL


def update(result: dict, name: str, data: bytes, settings: Settings, keep: Callable[[dict], None]) -> None:
    """Measures what of a result is not there or no longer holds: other models, libraries, settings or sources.

    Args:
      result: of this model, as `peers_report` reads it.
      name: of the model's file.
      data: the .tflite file.
      settings: how.
      keep: called with the result whenever there is more of it.
    """
    try:
        c.translate(data, "model", Tflm())
    except ModelError as error:
        result.clear()
        result["reason"] = f"{NO_C}: {c_corpus.reasons(error)}"
        keep(result)
        return
    result.pop("reason", None)
    for library in settings.libraries:
        cell = result.setdefault(library.cpu, {})
        for _ in _on_core(cell, name, data, library, settings):
            keep(result)


def _on_core(cell: dict, name: str, data: bytes, library: tflm.Library, settings: Settings) -> Iterator[None]:
    """Measures what of a core's part does not hold; yields whenever there is more of it."""
    cell["title"] = library.title
    cell.setdefault("keys", {})
    elf = settings.programs / f"{name}_{library.cpu}.elf"
    if not elf.is_file() and "reason" not in cell.get("program", {}):
        cell["keys"].pop("program", None)
    made = (library.digest, hashlib.sha256(data).hexdigest(), *_files(_MAKING))
    yield from _renewed(cell, "program", made, lambda: program(data, library, elf))
    ran = (*made, settings.samples, settings.part, *_files(_MEASURING))
    if "reason" in cell["program"]:
        cell["tflm"] = cell["program"]
        cell.pop("c", None)
        return
    data = to_int8(data).data if "converted" in cell["program"] else data
    yield from _renewed(cell, "tflm", ran, lambda: cell["program"] | theirs(elf, name, data, library.cpu, settings))
    written = (*ran, settings.toolchain, settings.bits, *_files(_WRITING))
    yield from _renewed(cell, "c", written, lambda: ours(name, data, library.cpu, settings))


def _renewed(cell: dict, part: str, depends: tuple, make: Callable[[], dict]) -> Iterator[None]:
    """Makes a part again where what it depends on has changed, and then yields."""
    key = hashlib.sha256(repr(depends).encode()).hexdigest()
    if cell["keys"].get(part) != key:
        cell[part] = make()
        cell["keys"][part] = key
        yield


def _files(patterns: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The project's files that figures depend on."""
    paths = sorted({path for pattern in patterns for path in _ROOT.glob(pattern) if path.is_file()})
    return [(path.name, path.read_bytes()) for path in paths]


def rows_of(name: str, data: bytes, samples: int) -> Rows:
    """What both sides run on: rows of the kind a model was made for, or random ones where nobody knows."""
    model = parse(data)
    return natural_inputs(name, model, samples) or random_inputs(model, samples)


def program(data: bytes, library: tflm.Library, elf: pathlib.Path) -> dict:
    """Builds the application around a model; with `converted` where TFLM takes it as int8 only, or with a `reason`."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            try:
                built, found = tflm_application.build(data, library, pathlib.Path(folder)), {}
            except ModelError as error:
                try:
                    data = to_int8(data).data
                except ModelError:
                    raise error from None
                built, found = tflm_application.build(data, library, pathlib.Path(folder)), {"converted": str(error)}
        except (ModelError, firmware.BuildError) as error:
            return {"reason": " ".join(str(error).split())}
        elf.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built.path, elf)
    return found


def theirs(elf: pathlib.Path, name: str, data: bytes, cpu: str, settings: Settings) -> dict:
    """TFLM's side of a model on a core; with `reason` where it does not run."""
    rows = rows_of(name, data, settings.samples)
    try:
        run = measure_elf(elf, data, name, cpu, rows.arrays, part=settings.part, keeps_state=True)
    except (ModelError, EngineError) as error:
        return {"reason": " ".join(str(error).split())}
    return {"rows": rows.source, "samples": rows.count} | _figures(run, elf)


def ours(name: str, data: bytes, cpu: str, settings: Settings) -> dict:
    """This side of a model on a core, by rescale; with `reason` where there is no C or it does not run."""
    found: dict = {}
    rows = rows_of(name, data, settings.samples)
    for rescale in (STOCK, settings.bits):
        try:
            with tempfile.TemporaryDirectory() as folder:
                run = measure(
                    data, "model", cpu, rescale, rows.arrays, None, pathlib.Path(folder), settings.toolchain,
                    part=settings.part,
                )  # fmt: skip
                found[str(rescale)] = _figures(run, pathlib.Path(folder, "model.elf"))
        except (ModelError, EngineError, firmware.BuildError) as error:
            found[str(rescale)] = {"reason": " ".join(str(error).split())}
    return found


def _figures(run: Run, elf: pathlib.Path) -> dict:
    functions = firmware.function_sizes(elf)
    return {
        "cycles": run.total("cycles"), "least": run.total("least"), "most": run.total("most"),
        "instructions": run.total("instructions"), "flash": run.flash, "code": sum(functions.values()),
        "ram": run.ram, "stack": run.stack, "arena": run.arena, "equal": run.equal,
        "largest_functions": dict(list(functions.items())[:_SHOWN]),
        "layers": [[layer.op, layer.output, layer.cycles] for layer in run.layers],
    }  # fmt: skip
