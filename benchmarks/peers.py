# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro beside the C of this project: every model in both, on emulated cores, the smallest gain first.

Links each model with the TFLM that you bring (docs/tflm.md says what --tflm_dir holds; built with CMSIS-NN, it is that
which is measured), in an application that has the model's operators only and an arena that is found by trying, and
writes the same model as C, stock and narrowed. All of it runs on the same inputs under the same cycle model as in
benchmarks.device. A model that TFLM takes only as int8 runs on both sides as --to_int8 of the exporter writes it.

Every model is measured in a process of its own. What --output has already is kept as long as neither the models, the
library nor this project have changed; ending the program loses only the model that is being measured.

usage: python -m benchmarks.peers [--tflm_dir DIR] [--cpu cortex-m4] [--bits 1] [--publish docs] [MODEL.tflite ...]
       python -m benchmarks.peers --part stm32l4plus [...]

Without models, those of the data folder.
"""

import json
import pathlib
import subprocess
import sys

from absl import flags
from rich.progress import track

from benchmarks import command, peers_report, peers_runs
from benchmarks.datasets import DATA_VARIABLE, data_folder
from benchmarks.device import describe
from benchmarks.emulators import firmware, tflm
from benchmarks.emulators.execution import EngineError
from benchmarks.parts import IDEAL, PARTS, Part
from benchmarks.peers_report import Made
from benchmarks.peers_runs import Settings
from tflm_export import UsageError, files

CPUS = ("cortex-m4", "cortex-m0plus")
SECONDS = 3600  # for a model
_MOST = 10_000  # models

_COMMAND = command.Command("peers", __doc__, errors=(firmware.BuildError, EngineError))
_FLAGS = _COMMAND.flags
_TFLM = flags.DEFINE_string("tflm_dir", None, f"Folder of TFLM; default: ${tflm.VARIABLE}.", flag_values=_FLAGS)
_CPU = flags.DEFINE_multi_enum("cpu", CPUS, firmware.CPUS, "Core, repeatable.", flag_values=_FLAGS)
_BITS = flags.DEFINE_integer("bits", 1, "Width of the narrowed C, beside the stock one.", flag_values=_FLAGS)
_SAMPLES = flags.DEFINE_integer("samples", 2, "Inferences to run.", lower_bound=1, flag_values=_FLAGS)
_TOOLCHAIN = flags.DEFINE_enum(
    "toolchain", "gcc", firmware.TOOLCHAINS, "Compiler of the C; that of TFLM is gcc.", flag_values=_FLAGS
)
_PART = flags.DEFINE_enum("part", None, sorted(PARTS), "Microcontroller, instead of --cpu.", flag_values=_FLAGS)
_PUBLISH = flags.DEFINE_string(
    "publish", None, "Also write the page here, its CSV and figure to results.", flag_values=_FLAGS
)
_ONE = flags.DEFINE_bool("one", False, "For the program's own use: a single model.", flag_values=_FLAGS)


def _part() -> Part:
    return PARTS.get(_PART.value, IDEAL)


def _cpus() -> tuple[str, ...]:
    """The cores.

    Raises:
      UsageError: --part has another one than --cpu.
    """
    part = _part()
    if part.cpu and _CPU.present and _CPU.value != [part.cpu]:
        raise UsageError(f"--part {part.name} has a {part.cpu}; leave out --cpu {' '.join(_CPU.value)}")
    return (part.cpu,) if part.cpu else tuple(_CPU.value)


def _settings() -> Settings:
    """What the flags say.

    Raises:
      UsageError: there is no such TFLM.
    """
    libraries = tuple(tflm.find(_TFLM.value, cpu) for cpu in _cpus())
    programs = pathlib.Path(_COMMAND.output.value) / "programs"
    return Settings(libraries, programs, _BITS.value, _SAMPLES.value, _TOOLCHAIN.value, _part())


def _one(path: str) -> int:
    """Measures a model; what is there already and still holds is left alone."""
    store = _stored(pathlib.Path(_COMMAND.output.value), path)
    command.make_folder(store.parent)
    result = _read(store)

    def keep(found: dict) -> None:
        files.write({str(store): command.to_json(found)})

    peers_runs.update(result, pathlib.Path(path).stem, files.read(path), _settings(), keep)
    return command.EXIT_OK


def _stored(output: pathlib.Path, path: str) -> pathlib.Path:
    return output / "models" / f"{pathlib.Path(path).stem}.json"


def _read(store: pathlib.Path) -> dict:
    """A stored result; empty where there is none."""
    return json.loads(store.read_text()) if store.is_file() else {}


def _measure(paths: list[str], console) -> dict[str, dict]:
    """Results by model, each from a process of its own."""
    output = _COMMAND.folder
    own = [f"--{flag.name}={value}" for flag, value in _passed()]
    results = {pathlib.Path(path).stem: _read(_stored(output, path)) for path in paths}
    for path in track(paths, "models", console=console):
        line = [sys.executable, "-m", "benchmarks.peers", "--one", *own, path]
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS)
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            problem = [f"not done within {SECONDS} seconds"]
        results[pathlib.Path(path).stem] = _read(_stored(output, path))
        if problem:
            console.print(f"{path}: {problem[0]}")
            results[pathlib.Path(path).stem]["problem"] = problem[0]
        _report(results, output)
    return results


def _passed():
    """The flags that measuring depends on, and their values."""
    for flag in (_COMMAND.output, _TFLM, _BITS, _SAMPLES, _TOOLCHAIN, _PART):
        if flag.value is not None:
            yield flag, flag.value
    if _PART.value is None:
        yield from ((_CPU, cpu) for cpu in _CPU.value)


def _report(results: dict[str, dict], output: pathlib.Path) -> str:
    """Writes the tables; returns the page."""
    line, about = _COMMAND.provenance(), _settings().libraries[0].about
    conditions = describe(_part())
    made = Made(_cpus(), _BITS.value, _TOOLCHAIN.value, conditions, line["command"], about)
    page = peers_report.markdown(results, made)
    tables = {"peers.md": page.encode(), "peers.csv": peers_report.to_csv(results).encode()}
    tables |= {
        "peers.json": command.to_json({"kind": "peers", "tflm": about, "part": _part().name, **line, "models": results})
    }
    files.write({str(output / name): content for name, content in tables.items()})
    return page


def _main(*models: str) -> int:
    if _ONE.value:
        return _one(models[0])
    _settings()  # before anything is measured
    paths = list(models) or _corpus()
    names = [pathlib.Path(path).stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"several models are called {', '.join(twice)}; results are kept by name: rename all but one")
    paths.sort(key=lambda path: pathlib.Path(path).stat().st_size)
    console = command.console()
    results = _measure(paths, console)
    output = _COMMAND.folder
    page, figure = _report(results, output), peers_report.figure(results, _cpus(), _BITS.value)
    files.write({str(output / "peers.png"): figure} if figure else {})
    for cpu in _cpus():
        console.print(peers_report.table(results, cpu, _BITS.value))
    if _PUBLISH.value:
        folder = pathlib.Path(_PUBLISH.value)
        command.make_folder(folder / "results")
        files.write({str(folder / "peers.md"): page.encode()})
        copied = ("peers.csv", *(["peers.png"] if figure else []))
        files.write({str(folder / "results" / name): (output / name).read_bytes() for name in copied})
    print(f"{output}: peers.md, peers.csv, peers.json and peers.png; cycles are modelled, {describe(_part())}")
    return command.EXIT_MODEL if any("problem" in result for result in results.values()) else command.EXIT_OK


def _corpus() -> list[str]:
    folder = data_folder()
    if folder is None:
        raise UsageError(f"no models; name some, or set {DATA_VARIABLE}")
    return [str(path) for path in folder.rglob("*.tflite")]


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit code: 1 where a model ended in an error."""
    return _COMMAND.run(argv, _main, _MOST)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
