# SPDX-License-Identifier: Apache-2.0
"""A model in TFLM and as C on emulated cores, measured as far as what is known of it no longer holds."""

import dataclasses
import hashlib
import pathlib
import tempfile
from collections.abc import Callable

from benchmarks import c_corpus, tflm_application
from benchmarks.device_runs import STOCK, Run, measure, measure_elf
from benchmarks.emulators import firmware, tflm
from benchmarks.emulators.execution import EngineError
from benchmarks.natural_inputs import Rows, natural_inputs, random_inputs
from benchmarks.peers_report import NO_C
from tflm_export import ModelError, c, to_int8
from tflm_export.arithmetic import Tflm
from tflm_export.flatbuffer.model import parse

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SOURCES = ("*.py", "*.c", "*.cc", "*.h", "*.S", "*.ld")
# Of the benchmarks, what figures depend on beside what emulates.
_MEASURING = ("cycles.py", "device_runs.py", "natural_inputs.py", "peers_runs.py", "tflm_application.py")
_SHOWN = 10  # functions, the largest ones


@dataclasses.dataclass(frozen=True)
class Settings:
    """How models are measured.

    Attributes:
      libraries: TFLM for each core.
      bits: width of the narrowed C, which stands beside the stock one.
      samples: inferences.
      toolchain: compiler of the C.
    """

    libraries: tuple[tflm.Library, ...]
    bits: int
    samples: int
    toolchain: str


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
    conditions = (hashlib.sha256(data).hexdigest(), settings.samples, _sources("benchmarks"))
    for library in settings.libraries:
        cell = result.setdefault(library.cpu, {})
        key = _digest(library.digest, *conditions)
        if cell.get("tflm_key") != key:
            cell |= {"title": library.title, "tflm": theirs(name, data, library, settings.samples), "tflm_key": key}
            keep(result)
        if "reason" in cell["tflm"]:
            cell.pop("c", None)
            continue
        key = _digest(_sources("tflm_export"), settings.toolchain, settings.bits, *conditions)
        if cell.get("c_key") != key:
            same = to_int8(data).data if cell["tflm"].get("converted") else data
            cell |= {"c": ours(name, same, library.cpu, settings), "c_key": key}
            keep(result)


def rows_of(name: str, data: bytes, samples: int) -> Rows:
    """What both sides run on: rows of the kind a model was made for, or random ones where nobody knows."""
    model = parse(data)
    return natural_inputs(name, model, samples) or random_inputs(model, samples)


def theirs(name: str, data: bytes, library: tflm.Library, samples: int) -> dict:
    """TFLM's side of a model on a core; with `reason` where it does not run."""
    result = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            try:
                built = tflm_application.build(data, library, pathlib.Path(folder))
            except ModelError as error:
                try:
                    data = to_int8(data).data
                except ModelError:
                    raise error from None
                result = {"converted": True, "why": str(error)}
                built = tflm_application.build(data, library, pathlib.Path(folder))
            rows = rows_of(name, data, samples)
            run = measure_elf(built.path, data, name, library.cpu, rows.arrays, keeps_state=True)
            return result | {"rows": rows.source, "samples": rows.count} | _figures(run, built.path)
    except (ModelError, EngineError, firmware.BuildError) as error:
        return result | {"reason": " ".join(str(error).split())}


def ours(name: str, data: bytes, cpu: str, settings: Settings) -> dict:
    """This side of a model on a core, by rescale; with `reason` where there is no C or it does not run."""
    found: dict = {}
    rows = rows_of(name, data, settings.samples)
    for rescale in (STOCK, settings.bits):
        try:
            with tempfile.TemporaryDirectory() as folder:
                run = measure(data, "model", cpu, rescale, rows.arrays, None, pathlib.Path(folder), settings.toolchain)
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


def _digest(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _sources(package: str) -> str:
    """A digest of the code that figures depend on."""
    folder = _ROOT / package
    if package == "benchmarks":
        paths = [path for kind in _SOURCES for path in (folder / "emulators").glob(kind)]
        paths += [folder / name for name in _MEASURING]
    else:
        paths = [path for kind in _SOURCES for path in folder.rglob(kind)]
    return _digest(*((path.name, path.read_bytes()) for path in sorted(paths)))
