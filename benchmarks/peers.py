# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro beside the C of this project: every model in both, on emulated cores, the smallest gain first.

Links each model with the TFLM that you bring (docs/tflm.md says what --tflm_dir holds; built with CMSIS-NN, it is that
which is measured), in an application that has the model's operators only and an arena that is found by trying, and
writes the same model as C, stock and narrowed. All of it runs on the same inputs under the same cycle model as in
benchmarks.device. A model that TFLM takes only as int8 runs on both sides as --to_int8 of the exporter writes it.

Every model is measured in a process of its own. What --output has already is kept as long as neither the models, the
library nor this project have changed; ending the program loses only the model that is being measured.

usage: python -m benchmarks.peers [--tflm_dir DIR] [--cpu cortex-m4] [--bits 1] [--publish docs] [MODEL.tflite ...]

Without models, those of the data folder.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

from absl import flags
from rich.progress import track

from benchmarks import c_corpus, command, peers_report, tflm_application
from benchmarks.datasets import DATA_VARIABLE, data_folder
from benchmarks.device_runs import STOCK, Run, measure, measure_elf
from benchmarks.emulators import firmware, tflm
from benchmarks.emulators.execution import EngineError
from benchmarks.natural_inputs import Rows, natural_inputs, random_inputs
from tflm_export import ModelError, UsageError, c, files, to_int8
from tflm_export.arithmetic import Tflm
from tflm_export.flatbuffer.model import parse

CPUS = ("cortex-m4", "cortex-m0plus")
SECONDS = 3600  # for a model
_ROOT = pathlib.Path(__file__).resolve().parents[1]
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
_ABOUT = flags.DEFINE_string("about", "", "What the library of --tflm_dir is, for the page.", flag_values=_FLAGS)
_PUBLISH = flags.DEFINE_string("publish", None, "Also write the Markdown here.", flag_values=_FLAGS)
_ONE = flags.DEFINE_bool("one", False, "For the program's own use: a single model.", flag_values=_FLAGS)


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


def ours(name: str, data: bytes, cpu: str, samples: int, toolchain: str, widths: list[str | int]) -> dict:
    """This side of a model on a core, for each rescale; with `reason` where there is no C or it does not run."""
    found: dict = {}
    rows = rows_of(name, data, samples)
    for rescale in widths:
        try:
            with tempfile.TemporaryDirectory() as folder:
                run = measure(data, "model", cpu, rescale, rows.arrays, None, pathlib.Path(folder), toolchain)
                found[str(rescale)] = _figures(run, pathlib.Path(folder, "model.elf"))
        except (ModelError, EngineError, firmware.BuildError) as error:
            found[str(rescale)] = {"reason": " ".join(str(error).split())}
    return found


def _figures(run: Run, elf: pathlib.Path) -> dict:
    functions = firmware.function_sizes(elf)
    largest = list(functions.items())[:10]
    return {
        "cycles": run.total("cycles"), "least": run.total("least"), "most": run.total("most"),
        "instructions": run.total("instructions"), "flash": run.flash, "code": sum(functions.values()),
        "ram": run.ram, "stack": run.stack, "arena": run.arena, "equal": run.equal,
        "largest_functions": dict(largest), "layers": [[layer.op, layer.output, layer.cycles] for layer in run.layers],
    }  # fmt: skip


def one(path: str) -> int:
    """Measures a model on every core; what is there already and still holds is left alone."""
    data, output = files.read(path), pathlib.Path(_COMMAND.output.value)
    store = _stored(output, path)
    result = json.loads(store.read_text()) if store.is_file() else {}
    sides = [STOCK, _BITS.value]
    try:
        c.translate(data, "model", Tflm())
    except ModelError as error:
        _write(store, {"reason": f"{peers_report.NO_C}: {c_corpus.reasons(error)}"})
        return command.EXIT_OK
    result.pop("reason", None)
    for cpu in _CPU.value:
        library = tflm.find(_TFLM.value, cpu)
        cell = result.setdefault(cpu, {})
        conditions = [hashlib.sha256(data).hexdigest(), _SAMPLES.value]
        key = _digest(library.digest, _sources("benchmarks"), *conditions)
        if cell.get("tflm_key") != key:
            cell |= {"tflm": theirs(pathlib.Path(path).stem, data, library, _SAMPLES.value), "title": library.title}
            cell["tflm_key"] = key
            _write(store, result)
        if "reason" in cell["tflm"]:
            cell.pop("c", None)
            continue
        same = to_int8(data).data if cell["tflm"].get("converted") else data
        key = _digest(_sources("benchmarks"), _sources("tflm_export"), _TOOLCHAIN.value, sides, *conditions)
        if cell.get("c_key") != key:
            cell["c"] = ours(pathlib.Path(path).stem, same, cpu, _SAMPLES.value, _TOOLCHAIN.value, sides)
            cell["c_key"] = key
            _write(store, result)
    return command.EXIT_OK


def _stored(output: pathlib.Path, path: str) -> pathlib.Path:
    return output / "models" / f"{pathlib.Path(path).stem}.json"


def _write(store: pathlib.Path, result: dict) -> None:
    command.make_folder(store.parent)
    files.write({str(store): command.to_json(result)})


def _digest(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _sources(package: str) -> str:
    """A digest of what computes: sources of a package, for benchmarks only of what a run of firmware depends on."""
    folder = _ROOT / package
    kinds = ("*.py", "*.c", "*.h", "*.S", "*.ld")
    if package == "benchmarks":
        paths = [*(folder / "emulators").glob("*.*"), *map(folder.joinpath, _COMPUTING)]
    else:
        paths = [path for kind in kinds for path in folder.rglob(kind)]
    return _digest(*((path.name, path.read_bytes()) for path in sorted(paths)))


_COMPUTING = ("cycles.py", "device_runs.py", "natural_inputs.py", "tflm_application.py")


def _measure(paths: list[str], console) -> dict[str, dict]:
    """Results by model, each from a process of its own."""
    output = _COMMAND.folder
    own = [f"--{flag.name}={value}" for flag, value in _passed()]
    results = {}
    for path in track(paths, "models", console=console):
        line = [sys.executable, "-m", "benchmarks.peers", "--one", *own, path]
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS)
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            problem = [f"not done within {SECONDS} seconds"]
        store = _stored(output, path)
        results[pathlib.Path(path).stem] = json.loads(store.read_text()) if store.is_file() else {}
        if problem:
            console.print(f"{path}: {problem[0]}")
            results[pathlib.Path(path).stem]["problem"] = problem[0]
        _report(results, output)
    return results


def _passed():
    """The flags that measuring depends on, and their values."""
    for flag in (_COMMAND.output, _TFLM, _BITS, _SAMPLES, _TOOLCHAIN):
        if flag.value is not None:
            yield flag, flag.value
    for cpu in _CPU.value:
        yield _CPU, cpu


def _report(results: dict[str, dict], output: pathlib.Path) -> str:
    """Writes tables and figure; returns the page."""
    line = _COMMAND.provenance()
    page = peers_report.markdown(results, _CPU.value, _BITS.value, _TOOLCHAIN.value, line["command"], _ABOUT.value)
    tables = {"peers.md": page.encode(), "peers.csv": peers_report.to_csv(results).encode()}
    tables |= {"peers.json": command.to_json({"kind": "peers", **line, "models": results})}
    figure = peers_report.figure(results, _CPU.value, _BITS.value)
    tables |= {"peers.png": figure} if figure else {}
    files.write({str(output / name): content for name, content in tables.items()})
    return page


def _main(*models: str) -> int:
    if _ONE.value:
        return one(models[0])
    for cpu in _CPU.value:
        tflm.find(_TFLM.value, cpu)
    paths = list(models) or _corpus()
    paths.sort(key=lambda path: pathlib.Path(path).stat().st_size)
    console = command.console()
    results = _measure(paths, console)
    output = _COMMAND.folder
    page = _report(results, output)
    for cpu in _CPU.value:
        console.print(peers_report.table(results, cpu, _BITS.value))
    if _PUBLISH.value:
        folder = pathlib.Path(_PUBLISH.value)
        command.make_folder(folder / "results")
        files.write({str(folder / "peers.md"): page.encode()})
        copied = ("peers.csv", "peers.json", "peers.png")
        files.write({str(folder / "results" / name): (output / name).read_bytes() for name in copied})
    print(f"{output}: peers.md, peers.csv, peers.json and peers.png; cycles are modelled, zero wait states")
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
